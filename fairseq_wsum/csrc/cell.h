// The interface of a cell: its equations for one vector of units. Each cell has a file of its own,
// with the equations of its file in cells/.
// Included once for each instruction set, after vector.h.
//
//   rows               rows of z
//   values             what `activate` leaves for `step` and `backward`: the activated rows, and
//                      others that both read, such as W_*h h_{t-1} + b_*h of a row with an inner bias
//   hidden_rows        with a recurrent matrix: rows of W_*h
//   place(k)           the value to which the k-th of them is added
//   memory             whether there is a memory cell
//   is_scan            whether it is the scan, which reads value U from an array of its own, `u`, and
//                      whose output is c_t in float32, also at padding, where that of others is zero
//   vectors            parameters of H elements
//   seen(k)            the row to which the k-th of them, times c_{t-1}, is added
//
// Python allocates the arrays from the cell in cells/. It must have as many rows, hidden rows and
// vectors there, and with a recurrent matrix as many values as `problem.saved_rows` has rows.
// instantiate.h refuses a call with others.
//
//   activate(r)       from pre-activations to gates and content
//   step(r, c)        from activated rows and c_{t-1} to h_t, and c to c_t
//   backward(r, c_prev, c, dh, dc, d)
//       the gradients d of the pre-activations, from dh, the gradient of h_t. On entry dc is the
//       gradient of c_t through later steps; on return it is that of c_{t-1}.

template <class C>
struct Values {
    vf r[C::values] = {};

    vf& operator[](int k) { return r[k]; }
    vf operator[](int k) const { return r[k]; }
};

// What most cells with a memory have in common.
struct Memory {
    static constexpr bool memory = true;
    static constexpr bool is_scan = false;
    static constexpr int vectors = 0;
    static constexpr int seen(int) { return 0; }
};

// In storage, rows are `stride` apart and the units of a row are contiguous.

template <class C, class S>
inline Values<C> load_rows(const S* z, int64_t stride, int n, int rows = C::rows) {
    Values<C> r;
    for (int k = 0; k < rows; ++k) r[k] = load(z + k * stride, n);
    return r;
}

template <class C, class S>
inline void store_rows(S* z, int64_t stride, const Values<C>& r, int n, int rows = C::rows) {
    for (int k = 0; k < rows; ++k) store(z + k * stride, r[k], n);
}

// Prefetches rows, which arrive while a tile is being computed.
template <class S>
inline void prefetch(const S* z, int64_t stride, int rows) {
    for (int row = 0; row < rows; ++row) __builtin_prefetch(z + row * stride);
}

// Adds the inner biases, which the rows that come from x_t do not contain.
template <class C, class S>
inline void add_inner_biases(Values<C>& r, const S* b_inner, int64_t stride, int n) {
    for (int k = 0; k < C::hidden_rows; ++k)
        if (C::place(k) >= C::rows && b_inner) r[C::place(k)] += load(b_inner + k * stride, n);
}

template <class C>
inline void add_hidden_rows(Values<C>& r, const float* product) {
    for (int k = 0; k < C::hidden_rows; ++k) r[C::place(k)] += load(product + k * V);
}

template <class C, class S>
inline void store_hidden_rows(S* z, int64_t stride, const Values<C>& r) {
    for (int k = 0; k < C::hidden_rows; ++k) store(z + k * stride, r[C::place(k)]);
}
