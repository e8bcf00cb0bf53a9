// Cells without products with h_{t-1}, and single steps of all other cells with a memory, in one pass
// over the pre-activations. The only connection between time steps is the memory cell, which the
// gates of an SRU read as well. The scan of gates that were computed elsewhere is a cell, too.
// Included once for each instruction set, after the other headers.

// Calls work(b, from, to) for units [from, to) of sequence b, in parallel.
template <class Work>
void for_each_sequence(const MemoryCell& p, Work&& work) {
    if (p.B == 0 || p.H == 0) return;
    // Less work than this is faster on one thread. The choice is between one and all threads: with
    // fewer, OpenMP would end the remaining ones, and torch would have to start them again.
    constexpr int64_t ENOUGH = 1024;
    const int threads = p.T * p.B * p.H < ENOUGH ? 1 : p.threads;
    // Sequences are divided only if there are too few of them for the threads, into parts of whole
    // vectors. That may give fewer parts than wanted.
    const int64_t wanted = std::min(ceil_div(2 * threads, p.B), ceil_div(p.H, V));
    const int64_t width = round_up(ceil_div(p.H, wanted), V), parts = ceil_div(p.H, width);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t item = 0; item < p.B * parts; ++item) {
        const int64_t from = item % parts * width;
        work(item / parts, from, std::min(from + width, p.H));
    }
}

// Adds the products of the vectors with c_{t-1} to the rows that see it, for the units from n on.
template <class C>
inline void add_vectors(Values<C>& r, vf c_prev, const MemoryCell& p, int64_t n, int count) {
    for (int k = 0; k < C::vectors; ++k) r[C::seen(k)] += load(p.v + k * p.H + n, count) * c_prev;
}

// The type of the output. That of the scan is c_t itself, which is not rounded.
template <class C, class S>
using Output = std::conditional_t<C::is_scan, float, S>;

// How the loop reads its problem. The scan reads a copy, which no store can change, so that its
// pointers stay in registers. For other cells a copy would change how products are rounded.
template <class C>
using Given = std::conditional_t<C::is_scan, const MemoryCell, const MemoryCell&>;

template <class C, class S>
void memory_cell(const MemoryCell& problem) {
    for_each_sequence(problem, [&](int64_t b, int64_t from, int64_t to) {
        Given<C> p = problem;
        const int64_t B = p.B, H = p.H, z_pitch = C::rows * H;
        float* const c_n = p.c_n + b * H;  // holds c_t during the loop
        for (int64_t n = from; n < to; ++n) c_n[n] = p.c_0[b * H + n];
        for (int64_t s = 0; s < p.T; ++s) {
            const int64_t t = p.reverse ? p.T - 1 - s : s, tb = t * B + b;
            const bool padded = p.padding && p.padding[tb];
            for (int64_t n = from; n < to; n += V) {
                const int count = lanes(n, to);
                vf c = load(c_n + n, count), h = {};
                if (!padded) {
                    auto r = load_rows<C>(as<S>(p.z) + tb * z_pitch + n, H, count);
                    if constexpr (C::is_scan) r[C::U] = load(as<S>(p.u) + tb * H + n, count);
                    add_vectors(r, c, p, n, count);
                    C::activate(r);
                    h = C::step(r, c);
                    store(c_n + n, c, count);
                } else if (C::is_scan) {
                    h = c;
                }
                store(as<Output<C, S>>(p.y) + tb * H + n, h, count);
                if (p.cells) store(p.cells + tb * H + n, c, count);
            }
        }
    });
}

template <class C, class S>
void memory_cell_backward(const MemoryCell& problem) {
    for_each_sequence(problem, [&](int64_t b, int64_t from, int64_t to) {
        Given<C> p = problem;
        const int64_t B = p.B, H = p.H, z_pitch = C::rows * H;
        float* const dc_0 = p.dc_0 + b * H;  // holds the gradient of c_t during the loop
        for (int64_t n = from; n < to; ++n) dc_0[n] = p.dc_n ? p.dc_n[b * H + n] : 0;
        for (int k = 0; k < C::vectors; ++k)
            std::fill(p.dv + (b * C::vectors + k) * H + from, p.dv + (b * C::vectors + k) * H + to,
                      0.0f);
        for (int64_t s = p.T - 1; s >= 0; --s) {
            const int64_t t = p.reverse ? p.T - 1 - s : s, tb = t * B + b;
            const int64_t t_prev = p.reverse ? t + 1 : t - 1;
            const float* const prev = s > 0 ? p.cells + (t_prev * B + b) * H : p.c_0 + b * H;
            const bool padded = p.padding && p.padding[tb];
            for (int64_t n = from; n < to; n += V) {
                const int count = lanes(n, to);
                Values<C> d;
                if (!padded) {
                    auto r = load_rows<C>(as<S>(p.z) + tb * z_pitch + n, H, count);
                    const vf c_prev = load(prev + n, count);
                    add_vectors(r, c_prev, p, n, count);
                    C::activate(r);
                    const vf c = load(p.cells + tb * H + n, count);
                    const vf dh =
                        p.dy ? load(as<Output<C, S>>(p.dy) + tb * H + n, count) : vf{};
                    vf dc = load(dc_0 + n, count);
                    C::backward(r, c_prev, c, dh, dc, d);
                    for (int k = 0; k < C::vectors; ++k) {
                        float* const dv = p.dv + (b * C::vectors + k) * H + n;
                        store(dv, load(dv, count) + d[C::seen(k)] * c_prev, count);
                        dc += d[C::seen(k)] * load(p.v + k * H + n, count);
                    }
                    store(dc_0 + n, dc, count);
                } else if (C::is_scan && p.dy) {
                    const vf dh = load(as<Output<C, S>>(p.dy) + tb * H + n, count);
                    store(dc_0 + n, load(dc_0 + n, count) + dh, count);
                }
                store_rows(as<S>(p.dz) + tb * z_pitch + n, H, d, count);
                if constexpr (C::is_scan) store(as<S>(p.du) + tb * H + n, d[C::U], count);
            }
        }
    });
}
