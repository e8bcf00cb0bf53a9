// The minGRU: see cells/mingru.py.

struct MinGru : Memory {
    enum { Z, G };
    static constexpr int rows = 2, values = 2;

    using Rows = Values<MinGru>;

    static void activate(Rows& r) { r[Z] = sigmoid(r[Z]); }

    static vf step(const Rows& r, vf& c) { return c = r[Z] * r[G] + (1.0f - r[Z]) * c; }

    static void backward(const Rows& r, vf c_prev, vf, vf dh, vf& dc, Rows& d) {
        dc += dh;
        d[Z] = (dc * r[G] - dc * c_prev) * r[Z] * (1.0f - r[Z]);
        d[G] = dc * r[Z];
        dc *= 1.0f - r[Z];
    }
};
