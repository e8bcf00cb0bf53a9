// One step of a cell, forward and backward: the equations of cells/lstm.py for one vector of units.
// Included once for each instruction set, after vector.h.

// The parts of a cell, like `LSTM` and `SimpleRNN` in cells/lstm.py. kernels.h names the bits.
template <unsigned Bits>
struct Cell {
    static constexpr bool srnn = Bits & SRNN;
    static constexpr bool output_gate = Bits & OUTPUT_GATE;
    static constexpr bool recurrent_gates = Bits & RECURRENT_GATES;
    static constexpr bool gates = Bits & GATES;
    static constexpr bool coupled = Bits & COUPLED;

    // The indices of the rows in W_*x (in torch's order i f c o) and in W_*h; -1 for missing rows.
    static constexpr int x_i = gates ? 0 : -1;
    static constexpr int x_f = gates && !coupled ? 1 : -1;
    static constexpr int x_c = gates ? (coupled ? 1 : 2) : 0;
    static constexpr int x_o = output_gate ? x_c + 1 : -1;
    static constexpr int x_rows = x_c + 1 + output_gate;

    static constexpr int h_i = recurrent_gates ? x_i : -1;
    static constexpr int h_f = recurrent_gates ? x_f : -1;
    static constexpr int h_c = srnn ? (recurrent_gates ? x_c : 0) : -1;
    static constexpr int h_o = recurrent_gates && output_gate ? x_o - !srnn : -1;
    static constexpr int h_rows = (recurrent_gates ? x_rows - 1 : 0) + srnn;
};

// The pre-activations of a step or, after `activate`, the gates and the content layer.
struct Rows {
    vf i = {}, f = {}, c = {}, o = {};
};

template <class C>
inline void activate(Rows& r) {
    r.c = C::srnn ? tanh(r.c) : r.c;
    if (!C::gates) return;
    r.i = sigmoid(r.i);
    r.f = C::coupled ? 1.0f - r.i : sigmoid(r.f);
    if (C::output_gate) r.o = sigmoid(r.o);
}

// Returns h_t, given the activated rows, and updates c from c_{t-1} to c_t.
template <class C>
inline vf step(const Rows& r, vf& c) {
    if (!C::gates) return r.c;
    c = r.i * r.c + r.f * c;
    return C::output_gate ? r.o * tanh(c) : tanh(c);
}

// Returns the gradients of the pre-activations, given dh, the gradient of h_t. On entry dc is the
// gradient of c_t through later steps; on return it is the gradient of c_{t-1}.
template <class C>
inline Rows step_backward(const Rows& r, vf c_last, vf c, vf dh, vf& dc) {
    Rows d;
    if (!C::gates) {
        d.c = dh * (1.0f - r.c * r.c);
        return d;
    }
    const vf tanh_c = tanh(c);
    if (C::output_gate) {
        d.o = dh * tanh_c * r.o * (1.0f - r.o);
        dh *= r.o;
    }
    dc += dh * (1.0f - tanh_c * tanh_c);
    if (C::coupled) {
        d.i = (dc * r.c - dc * c_last) * r.i * (1.0f - r.i);
    } else {
        d.i = dc * r.c * r.i * (1.0f - r.i);
        d.f = dc * c_last * r.f * (1.0f - r.f);
    }
    d.c = dc * r.i;
    if (C::srnn) d.c *= 1.0f - r.c * r.c;
    dc *= C::coupled ? 1.0f - r.i : r.f;
    return d;
}

// In storage, rows are `stride` apart and the units of a row are contiguous.

template <class C, class S>
inline Rows load_rows(const S* z, int64_t stride, int n) {
    Rows r;
    if (C::x_i >= 0) r.i = load(z + C::x_i * stride, n);
    if (C::x_f >= 0) r.f = load(z + C::x_f * stride, n);
    r.c = load(z + C::x_c * stride, n);
    if (C::x_o >= 0) r.o = load(z + C::x_o * stride, n);
    return r;
}

template <class C, class S>
inline void store_rows(S* z, int64_t stride, const Rows& r, int n) {
    if (C::x_i >= 0) store(z + C::x_i * stride, r.i, n);
    if (C::x_f >= 0) store(z + C::x_f * stride, r.f, n);
    store(z + C::x_c * stride, r.c, n);
    if (C::x_o >= 0) store(z + C::x_o * stride, r.o, n);
}

// Prefetches the rows, which arrive while a tile is being computed.
template <class C, class S>
inline void prefetch(const S* z, int64_t stride) {
    for (int row = 0; row < C::x_rows; ++row) __builtin_prefetch(z + row * stride);
}

// The same for the rows of W_*h.
template <class C>
inline void add_hidden_rows(Rows& r, const float* acc, int64_t stride) {
    if (C::h_i >= 0) r.i += load(acc + C::h_i * stride);
    if (C::h_f >= 0) r.f += load(acc + C::h_f * stride);
    if (C::h_c >= 0) r.c += load(acc + C::h_c * stride);
    if (C::h_o >= 0) r.o += load(acc + C::h_o * stride);
}

template <class C, class S>
inline void store_hidden_rows(S* z, int64_t stride, const Rows& r, int n) {
    if (C::h_i >= 0) store(z + C::h_i * stride, r.i, n);
    if (C::h_f >= 0) store(z + C::h_f * stride, r.f, n);
    if (C::h_c >= 0) store(z + C::h_c * stride, r.c, n);
    if (C::h_o >= 0) store(z + C::h_o * stride, r.o, n);
}
