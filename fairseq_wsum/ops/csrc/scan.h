// The scan of a gated sum, c_t = f_t c_{t-1} + u_t, for gates that were computed elsewhere.
// Included once for each instruction set, after memory_cell.h.

template <class S>
void scan(const Scan& p) {
    const int64_t B = p.B, H = p.H;
    for_each_sequence(p, [&](int64_t b, int64_t from, int64_t to) {
        float* const c_n = p.c_n + b * H;  // holds c_t during the loop
        for (int64_t n = from; n < to; ++n) c_n[n] = p.c_0[b * H + n];
        for (int64_t s = 0; s < p.T; ++s) {
            const int64_t t = p.reverse ? p.T - 1 - s : s, tb = t * B + b;
            const bool padded = p.padding && p.padding[tb];
            for (int64_t n = from; n < to; n += V) {
                const int count = lanes(n, to);
                const int64_t place = tb * H + n;
                vf c = load(c_n + n, count);
                if (!padded) {
                    c = load(as<S>(p.f) + place, count) * c +
                        load(as<S>(p.u) + place, count);
                    store(c_n + n, c, count);
                }
                store(p.cells + place, c, count);
            }
        }
    });
}

template <class S>
void scan_backward(const Scan& p) {
    const int64_t B = p.B, H = p.H;
    for_each_sequence(p, [&](int64_t b, int64_t from, int64_t to) {
        float* const dc_0 = p.dc_0 + b * H;  // holds the gradient of c_t during the loop
        for (int64_t n = from; n < to; ++n) dc_0[n] = p.dc_n ? p.dc_n[b * H + n] : 0;
        for (int64_t s = p.T - 1; s >= 0; --s) {
            const int64_t t = p.reverse ? p.T - 1 - s : s, tb = t * B + b;
            const int64_t t_prev = p.reverse ? t + 1 : t - 1;
            const float* const prev = s > 0 ? p.cells + (t_prev * B + b) * H : p.c_0 + b * H;
            const bool padded = p.padding && p.padding[tb];
            for (int64_t n = from; n < to; n += V) {
                const int count = lanes(n, to);
                const int64_t place = tb * H + n;
                vf dc = load(dc_0 + n, count), df = {}, du = {};
                if (p.dcells) dc += load(p.dcells + place, count);
                if (!padded) {
                    df = dc * load(prev + n, count);
                    du = dc;
                    dc *= load(as<S>(p.f) + place, count);
                }
                store(dc_0 + n, dc, count);
                store(as<S>(p.df) + place, df, count);
                store(as<S>(p.du) + place, du, count);
            }
        }
    });
}
