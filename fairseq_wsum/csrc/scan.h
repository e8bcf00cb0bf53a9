// The scan of a gated sum, c_t = f_t c_{t-1} + u_t, for gates that were computed elsewhere: see
// recurrence/scan.py. Its one row is f_t.

struct Scan : Memory {
    enum { F, U };
    static constexpr int rows = 1, values = 2;
    static constexpr bool is_scan = true;

    using Rows = Values<Scan>;

    static void activate(Rows&) {}

    static vf step(const Rows& r, vf& c) { return c = r[F] * c + r[U]; }

    static void backward(const Rows& r, vf c_prev, vf, vf dh, vf& dc, Rows& d) {
        dc += dh;
        d[F] = dc * c_prev;
        d[U] = dc;
        dc *= r[F];
    }
};
