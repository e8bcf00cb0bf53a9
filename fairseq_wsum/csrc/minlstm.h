// The minLSTM: see cells/minlstm.py. With a = 1 + exp(-z_f) = 1 / f and b = 1 + exp(-z_i) = 1 / i, the
// gates are f / (f + i) = b / (a + b) and i / (f + i) = a / (a + b). The last two values are the
// derivatives of log f and log i, sigmoid(-z_f) and sigmoid(-z_i).

struct MinLstm : Memory {
    enum { F, I, G, DLOG_F, DLOG_I };
    static constexpr int rows = 3, values = 5;

    using Rows = Values<MinLstm>;

    static void activate(Rows& r) {
        // Below SMALL f and i are exponentials to the last bit, and only their quotient counts. So
        // both may be multiplied by one factor, which keeps one of them from vanishing.
        constexpr float SMALL = -17.5f;
        const vf larger = r[F] > r[I] ? r[F] : r[I];
        const vf lift = larger < SMALL ? SMALL - larger : vf{};
        constexpr float LARGEST = 86.0f;  // of which 1 / (a + b) is a normal number
        const vf x_f = -r[F] - lift, x_i = -r[I] - lift;
        const vf e_f = exp(clamp(x_f, -88.0f, LARGEST)), e_i = exp(clamp(x_i, -88.0f, LARGEST));
        const vf a = 1.0f + e_f, b = 1.0f + e_i, share = 1.0f / (a + b);
        r[F] = x_f > LARGEST && b == b ? vf{} : b * share;  // b == b: not NaN, which must stay NaN
        r[I] = x_i > LARGEST && a == a ? vf{} : a * share;
        r[DLOG_F] = e_f / a;
        r[DLOG_I] = e_i / b;
    }

    static vf step(const Rows& r, vf& c) { return c = r[I] * r[G] + r[F] * c; }

    static void backward(const Rows& r, vf c_prev, vf, vf dh, vf& dc, Rows& d) {
        dc += dh;
        const vf slope = (dc * c_prev - dc * r[G]) * r[F] * r[I];  // with respect to log(f / i)
        d[F] = slope * r[DLOG_F];
        d[I] = -slope * r[DLOG_I];
        d[G] = dc * r[I];
        dc *= r[F];
    }
};
