// The GRU: see cells/gru.py. Its fourth value is m = W_nh h_{t-1} + b_nh: n_t = tanh(z_n + r_t m).

struct GruMemory : Memory {
    enum { R, Z, N, M };
    static constexpr int rows = 3;

    template <class Rows>
    static vf step(const Rows& r, vf& c) {
        return c = (1.0f - r[Z]) * r[N] + r[Z] * c;
    }

    template <class Rows>
    static void backward(const Rows& r, vf c_prev, vf, vf dh, vf& dc, Rows& d) {
        dc += dh;
        d[Z] = (dc * c_prev - dc * r[N]) * r[Z] * (1.0f - r[Z]);
        d[N] = dc * (1.0f - r[Z]) * (1.0f - r[N] * r[N]);
        dc *= r[Z];
    }
};

struct Gru : GruMemory {
    static constexpr int values = 4, hidden_rows = 3;
    static constexpr int place(int k) { return k == 2 ? M : k; }

    using Rows = Values<Gru>;

    static void activate(Rows& r) {
        r[R] = sigmoid(r[R]);
        r[Z] = sigmoid(r[Z]);
        r[N] = tanh(r[N] + r[R] * r[M]);
    }

    static void backward(const Rows& r, vf c_prev, vf c, vf dh, vf& dc, Rows& d) {
        GruMemory::backward(r, c_prev, c, dh, dc, d);
        d[M] = d[N] * r[R];
        d[R] = d[N] * r[M] * r[R] * (1.0f - r[R]);
    }
};

// A single step of a GRU, with complete pre-activations. It does not need r_t any more.
struct GruStep : GruMemory {
    static constexpr int values = 3;

    using Rows = Values<GruStep>;

    static void activate(Rows& r) {
        r[Z] = sigmoid(r[Z]);
        r[N] = tanh(r[N]);
    }
};
