// The SRU: see cells/sru.py. The loop adds v_f c_{t-1} and v_r c_{t-1} to the rows of its gates.

struct Sru : Memory {
    enum { G, F, R, SKIP };
    static constexpr int rows = 4, values = 4, vectors = 2;
    static constexpr int seen(int k) { return k == 0 ? F : R; }

    using Rows = Values<Sru>;

    static void activate(Rows& r) {
        r[F] = sigmoid(r[F]);
        r[R] = sigmoid(r[R]);
    }

    static vf step(const Rows& r, vf& c) {
        c = r[F] * c + (1.0f - r[F]) * r[G];
        return r[R] * c + (1.0f - r[R]) * r[SKIP];
    }

    static void backward(const Rows& r, vf c_prev, vf c, vf dh, vf& dc, Rows& d) {
        d[R] = (dh * c - dh * r[SKIP]) * r[R] * (1.0f - r[R]);
        d[SKIP] = dh * (1.0f - r[R]);
        dc += dh * r[R];
        d[F] = (dc * c_prev - dc * r[G]) * r[F] * (1.0f - r[F]);
        d[G] = dc * (1.0f - r[F]);
        dc *= r[F];
    }
};
