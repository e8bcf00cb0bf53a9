// Cells with a recurrent matrix. Each step computes the product with W_hh and the cell itself tile by
// tile. Included once for each instruction set, after the other headers.
//
// Template arguments:
//   C   the cell (cell.h)
//   S   the type of numbers in storage: float or bf16
//   Op  the type of the operands of products: bf16 if S is bf16 and the instruction set multiplies
//       bf16 (HAS_BF16_PRODUCT), else float. Sums and all element-wise operations are in float.

// Indexing shared by the forward and the backward pass.
template <class Op>
struct Layout {
    explicit Layout(const Recurrence& p)
        : p(p), pitch_h(round_up(p.H, PITCH<Op>)), pitch_p(round_up(p.P, PITCH<Op>)) {}

    const Recurrence& p;
    const int64_t pitch_h, pitch_p;  // row lengths of scratch buffers

    int64_t time(int64_t step) const { return p.reverse ? p.T - 1 - step : step; }
    bool padded(int64_t t, int64_t b) const { return p.padding && p.padding[t * p.B + b]; }
    bool any_unpadded(int64_t t, int64_t from, int64_t to) const {
        if (!p.padding) return true;
        for (int64_t b = from; b < to; ++b)
            if (!p.padding[t * p.B + b]) return true;
        return false;
    }
};

// Copies a row of n numbers as whole vectors. The lanes after its end are set to zero.
template <class From, class To>
inline void copy_row(const From* from, To* to, int64_t n) {
    for (int64_t i = 0; i < n; i += V) {
        store(to + i, load(from + i, lanes(i, n)));
    }
}

template <class To>
inline void clear_row(To* to, int64_t n) {
    for (int64_t i = 0; i < n; i += V) store(to + i, vf{});
}

// Rounds `x` to the precision of S.
template <class S>
inline vf rounded(vf x) {
    S as_stored[V];
    store(as_stored, x);
    return load(as_stored);
}

// Prepares `x`, of which n lanes are in use, as the operand of a product. The product may also read
// the lanes after them, which it multiplies by zero, so they must be finite.
template <class Op>
inline vf ended(vf x, int n) {
    return DEPTH<Op> > 1 && n < V ? keep_first(x, n, 0) : x;
}

// Whether `saved` has pre-activations, not activated rows, as in recurrence/problem.py. In 16 bits a
// gate near 1 would be rounded to 1, and its gradient and all that the memory forgets would be lost.
template <class C, class S>
constexpr bool SAVES_PREACTIVATIONS = C::memory && sizeof(S) < sizeof(float);

constexpr int WIDE = 4;  // default number of vectors of outputs in a panel

// The panels of W_hh for the forward pass. A panel has all hidden rows of some vectors of units.
template <class C>
struct ForwardPanel {
    static constexpr int ROWS = C::hidden_rows;
    static constexpr int BLOCKS = ROWS == 1 ? WIDE : ROWS == 2 ? 2 : 1;  // vectors of units
    static constexpr int N = ROWS * BLOCKS;
};

template <class C, class S, class Op>
void recurrence(const Recurrence& p) {
    using Panel = ForwardPanel<C>;
    const Layout<Op> at(p);
    const int64_t B = p.B, H = p.H, P = p.P, z_pitch = C::rows * H, pitch = C::values * H;
    const bool projects = p.w_hr != nullptr;

    Panels<Op, Panel::N> w_hh(ceil_div(H, Panel::BLOCKS * V), 1, P);
    Panels<Op, WIDE> w_hr(projects ? ceil_div(P, WIDE * V) : 0, 1, H);
    Buffer<Op> h_even(B * at.pitch_p), h_odd(B * at.pitch_p);  // h_t of even and odd steps
    Buffer<Op> unprojected(projects ? B * at.pitch_h : 0);
    Buffer<float> c(C::memory ? B * at.pitch_h : 0);
    const S* const b_inner = as<S>(p.b_inner);
    S* const y = as<S>(p.y);
    S* const states = as<S>(p.states);

#pragma omp parallel num_threads(Team::threads(p))
    {
        const Team team(p, sizeof(Op));
        const Range mine = share(B, team.rank, team.size);
        for (int64_t b = mine.from; b < mine.to; ++b) {
            // a product reads rows up to their pitch and multiplies the rest by zero: no NaN there
            clear_row(h_even.get() + b * at.pitch_p, at.pitch_p);
            clear_row(h_odd.get() + b * at.pitch_p, at.pitch_p);
            if (projects) clear_row(unprojected.get() + b * at.pitch_h, at.pitch_h);
            copy_row(as<S>(p.h_0) + b * P, h_even.get() + b * at.pitch_p, P);
            if (C::memory) copy_row(p.c_0 + b * H, c.get() + b * at.pitch_h, H);
        }
        for (int64_t i = team.rank; i < w_hh.count; i += team.size)
            w_hh.pack_rows(i, as<S>(p.w_hh), H, P, Panel::ROWS);
        for (int64_t i = team.rank; i < w_hr.count; i += team.size)
            w_hr.pack_rows(i, as<S>(p.w_hr), P, H, 1);
#pragma omp barrier

        for (int64_t s = 0; s < p.T; ++s) {
            const int64_t t = at.time(s);
            const Op* const h_prev = (s % 2 ? h_odd : h_even).get();
            Op* const h = (s % 2 ? h_even : h_odd).get();
            const auto any_unpadded = [&](int64_t from, int64_t to) {
                return at.any_unpadded(t, from, to);
            };

            // Stores features [n, n + V) of h_t: `value` or, at padding, h_{t-1}.
            const auto put = [&](int64_t b, int64_t n, vf value) {
                const int count = lanes(n, P);
                const bool padded = at.padded(t, b);
                const int64_t place = b * at.pitch_p + n, out = (t * B + b) * P + n;
                const vf h_t = padded ? load(h_prev + place) : ended<Op>(rounded<S>(value), count);
                store(h + place, h_t);
                store(y + out, padded ? vf{} : h_t, count);
                if (states) store(states + out, h_t, count);
            };

            const Range panels = team.panels(w_hh.count);
            for (int64_t i = panels.from; i < panels.to; ++i) {
                const auto use = [&](int64_t b, const float* product) {
                    for (int block = 0; block < Panel::BLOCKS; ++block) {
                        const int64_t n = (i * Panel::BLOCKS + block) * V;
                        if (n >= H) break;
                        const int count = lanes(n, H);
                        const int64_t tb = t * B + b;
                        float* const cell = c.get() + b * at.pitch_h + n;
                        vf c_t = C::memory ? load(cell) : vf{}, h_t = {};
                        Values<C> r, saved;
                        if (!at.padded(t, b)) {
                            r = load_rows<C>(as<S>(p.z) + tb * z_pitch + n, H, count);
                            add_inner_biases(r, b_inner ? b_inner + n : nullptr, H, count);
                            add_hidden_rows(r, product + block * Panel::ROWS * V);
                            saved = r;
                            C::activate(r);
                            if (!SAVES_PREACTIVATIONS<C, S>) saved = r;
                            h_t = C::step(r, c_t);
                            if (C::memory) store(cell, c_t);
                        }
                        if (p.saved)
                            store_rows(as<S>(p.saved) + tb * pitch + n, H, saved, count, C::values);
                        if (C::memory && p.cells) store(p.cells + tb * H + n, c_t, count);
                        if (projects)
                            store(unprojected.get() + b * at.pitch_h + n, ended<Op>(h_t, count));
                        else
                            put(b, n, h_t);
                    }
                };
                const auto begin = [&](int64_t from, int64_t to) {
                    for (int64_t b = from; b < to; ++b)
                        prefetch(as<S>(p.z) + (t * B + b) * z_pitch + i * Panel::BLOCKS * V, H,
                                 C::rows);
                    return any_unpadded(from, to);
                };
                w_hh.multiply(i, h_prev, at.pitch_p, 0, team.sequences.from, team.sequences.to,
                              begin, use);
            }
            if (team.shares_units) {
#pragma omp barrier
            }
            if (projects) {
                const Range outputs = team.panels(w_hr.count);
                for (int64_t i = outputs.from; i < outputs.to; ++i) {
                    const auto use = [&](int64_t b, const float* product) {
                        for (int k = 0; k < WIDE; ++k) {
                            const int64_t n = (i * WIDE + k) * V;
                            if (n < P) put(b, n, load(product + k * V));
                        }
                    };
                    w_hr.multiply(i, unprojected.get(), at.pitch_h, 0, team.sequences.from,
                                  team.sequences.to, any_unpadded, use);
                }
                if (team.shares_units) {
#pragma omp barrier
                }
            }
        }
#pragma omp barrier
        for (int64_t b = mine.from; b < mine.to; ++b) {
            const Op* const h = (p.T % 2 ? h_odd : h_even).get() + b * at.pitch_p;
            for (int64_t n = 0; n < P; n += V)
                store(as<S>(p.h_n) + b * P + n, load(h + n), lanes(n, P));
            for (int64_t n = 0; C::memory && n < H; n += V)
                store(p.c_n + b * H + n, load(c.get() + b * at.pitch_h + n), lanes(n, H));
        }
    }
}

template <class C, class S, class Op>
void recurrence_backward(const Recurrence& p) {
    constexpr int N = WIDE;
    const Layout<Op> at(p);
    const int64_t B = p.B, H = p.H, P = p.P, z_pitch = C::rows * H, pitch = C::values * H;
    const int64_t dz_pitch = C::hidden_rows * at.pitch_h;
    const bool projects = p.w_hr != nullptr;

    Panels<Op, N> w_hh(ceil_div(P, N * V), C::hidden_rows, H);         // gives dh_{t-1}
    Panels<Op, N> w_hr(projects ? ceil_div(H, N * V) : 0, 1, P);  // gives dh_t before projection
    Buffer<Op> dz_even(B * dz_pitch), dz_odd(B * dz_pitch);       // hidden rows only
    Buffer<Op> dh_projected(projects ? B * at.pitch_p : 0);
    Buffer<float> dc(C::memory ? B * at.pitch_h : 0);
    Buffer<float> stayed(p.padding ? B * at.pitch_p : 0);  // dh that passes through padding
    S* const dz = as<S>(p.dz);

#pragma omp parallel num_threads(Team::threads(p))
    {
        const Team team(p, sizeof(Op));
        const Range mine = share(B, team.rank, team.size);
        for (int64_t b = mine.from; b < mine.to; ++b) {
            clear_row(dz_even.get() + b * dz_pitch, dz_pitch);
            clear_row(dz_odd.get() + b * dz_pitch, dz_pitch);
            if (projects) clear_row(dh_projected.get() + b * at.pitch_p, at.pitch_p);
            if (p.padding) clear_row(stayed.get() + b * at.pitch_p, P);
            if (!C::memory) continue;
            if (p.dc_n)
                copy_row(p.dc_n + b * H, dc.get() + b * at.pitch_h, H);
            else
                clear_row(dc.get() + b * at.pitch_h, H);
        }
        for (int64_t i = team.rank; i < w_hh.count; i += team.size)
            w_hh.pack_columns(i, as<S>(p.w_hh), P, H);
        for (int64_t i = team.rank; i < w_hr.count; i += team.size)
            w_hr.pack_columns(i, as<S>(p.w_hr), H, P);
#pragma omp barrier

        for (int64_t s = p.T - 1; s >= -1; --s) {
            // s = -1 is the initial state, which only receives its gradient.
            const bool initial = s < 0;
            const int64_t t = initial ? 0 : at.time(s), t_prev = s > 0 ? at.time(s - 1) : 0;
            const Op* const dz_next = (s % 2 ? dz_even : dz_odd).get();
            Op* const dz_hidden = (s % 2 ? dz_odd : dz_even).get();

            // Computes the gradient of units [n, n + V) of z_t from that of the unprojected h_t.
            const auto through_cell = [&](int64_t b, int64_t n, vf dh) {
                const int count = lanes(n, H);
                const int64_t tb = t * B + b;
                Values<C> d;
                if (!at.padded(t, b)) {
                    auto r = load_rows<C>(as<S>(p.saved) + tb * pitch + n, H, count, C::values);
                    if (SAVES_PREACTIVATIONS<C, S>) C::activate(r);
                    vf c = {}, c_prev = {}, dc_t = {};
                    float* const grad = dc.get() + b * at.pitch_h + n;
                    if (C::memory) {
                        const float* prev = s > 0 ? p.cells + (t_prev * B + b) * H : p.c_0 + b * H;
                        c = load(p.cells + tb * H + n, count);
                        c_prev = load(prev + n, count);
                        dc_t = load(grad);
                    }
                    C::backward(r, c_prev, c, dh, dc_t, d);
                    if (C::memory) store(grad, dc_t);
                }
                store_rows(dz + tb * z_pitch + n, H, d, count);
                store_hidden_rows(dz_hidden + b * dz_pitch + n, at.pitch_h, d);
            };

            // Takes features [n, n + V) of the gradient of h_t through the next step.
            const auto through_output = [&](int64_t b, int64_t n, vf dh) {
                const int count = lanes(n, P);
                dh = ended<Op>(dh, count);
                const int64_t tb = t * B + b, place = b * at.pitch_p + n;
                const bool padded = !initial && at.padded(t, b);
                if (p.padding) {
                    dh += load(stayed.get() + place);
                    store(stayed.get() + place, padded ? dh : vf{});
                }
                if (initial) return store(as<S>(p.dh_0) + b * P + n, dh, count);
                if (padded)
                    dh = vf{};
                else if (p.dy)
                    dh += load(as<S>(p.dy) + tb * P + n, count);
                if (!projects) return through_cell(b, n, dh);
                store(as<S>(p.dh) + tb * P + n, dh, count);
                store(dh_projected.get() + place, rounded<S>(dh));
            };

            const Range panels = team.panels(w_hh.count);
            for (int64_t i = panels.from; i < panels.to; ++i) {
                const int64_t first = i * w_hh.WIDTH;
                if (s == p.T - 1) {  // there is no next step
                    for (int64_t b = team.sequences.from; b < team.sequences.to; ++b) {
                        for (int64_t n = first; n < std::min(first + w_hh.WIDTH, P); n += V) {
                            const S* dh_n = as<S>(p.dh_n);
                            through_output(b, n, dh_n ? load(dh_n + b * P + n, lanes(n, P)) : vf{});
                        }
                    }
                    continue;
                }
                const auto use = [&](int64_t b, const float* product) {
                    for (int k = 0; k < N && first + k * V < P; ++k)
                        through_output(b, first + k * V, load(product + k * V));
                };
                const auto begin = [&](int64_t from, int64_t to) {
                    for (int64_t b = from; b < to && !projects && !initial; ++b) {
                        const int64_t tb = t * B + b;
                        for (int64_t n = first; n < std::min(first + w_hh.WIDTH, H); n += V) {
                            prefetch(as<S>(p.saved) + tb * pitch + n, H, C::values);
                            if (C::memory) __builtin_prefetch(p.cells + tb * H + n);
                            if (p.dy) __builtin_prefetch(as<S>(p.dy) + tb * P + n);
                        }
                    }
                    return true;  // dh passes through padding
                };
                w_hh.multiply(i, dz_next, dz_pitch, at.pitch_h, team.sequences.from, team.sequences.to,
                              begin, use);
            }
            if (team.shares_units) {
#pragma omp barrier
            }
            if (!projects || initial) continue;
            const Range units = team.panels(w_hr.count);
            const auto any_unpadded = [&](int64_t from, int64_t to) {
                return at.any_unpadded(t, from, to);
            };
            for (int64_t i = units.from; i < units.to; ++i) {
                const int64_t first = i * w_hr.WIDTH;
                const auto use = [&](int64_t b, const float* product) {
                    for (int k = 0; k < N && first + k * V < H; ++k) {
                        const int64_t n = first + k * V;
                        through_cell(b, n, ended<Op>(load(product + k * V), lanes(n, H)));
                    }
                };
                w_hr.multiply(i, dh_projected.get(), at.pitch_p, 0, team.sequences.from,
                              team.sequences.to, any_unpadded, use);
            }
            if (team.shares_units) {
#pragma omp barrier
            }
        }
#pragma omp barrier
        for (int64_t b = mine.from; b < mine.to; ++b)
            for (int64_t n = 0; C::memory && n < H; n += V)
                store(p.dc_0 + b * H + n, load(dc.get() + b * at.pitch_h + n), lanes(n, H));
    }
}
