// The QRNN with fo-pooling: see cells/qrnn.py.

struct Qrnn : Memory {
    enum { Z, F, O };
    static constexpr int rows = 3, values = 3;

    using Rows = Values<Qrnn>;

    static void activate(Rows& r) {
        r[Z] = tanh(r[Z]);
        r[F] = sigmoid(r[F]);
        r[O] = sigmoid(r[O]);
    }

    static vf step(const Rows& r, vf& c) {
        c = r[F] * c + (1.0f - r[F]) * r[Z];
        return r[O] * c;
    }

    static void backward(const Rows& r, vf c_prev, vf c, vf dh, vf& dc, Rows& d) {
        d[O] = dh * c * r[O] * (1.0f - r[O]);
        dc += dh * r[O];
        d[F] = (dc * c_prev - dc * r[Z]) * r[F] * (1.0f - r[F]);
        d[Z] = dc * (1.0f - r[F]) * (1.0f - r[Z] * r[Z]);
        dc *= r[F];
    }
};
