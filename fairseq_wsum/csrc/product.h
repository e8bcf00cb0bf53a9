// Products with a matrix that is the same in all time steps. The matrix is packed once into panels,
// which are stored in the order in which they are read. Products are computed in tiles that fit
// into registers, and the caller processes each tile before the next one is computed.
// Included once for each instruction set, after vector.h and parallel.h.

// Number of consecutive terms of a sum that one instruction handles: two for bfloat16.
template <class Op>
constexpr int GROUP = sizeof(float) / sizeof(Op);

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

inline void convert(float from, float& to) { to = from; }
inline void convert(bf16 from, bf16& to) { to = from; }
inline void convert(bf16 from, float& to) {
    const uint32_t bits = uint32_t(from.bits) << 16;
    std::memcpy(&to, &bits, sizeof to);
}

#ifdef HAS_AMX
#include "amx_tiles.h"
#else
// Number of vector registers that accumulate a tile; the others hold operands.
constexpr int SUMS = VECTOR_BYTES == 64 ? 24 : 12;

// The number of terms of a sum is rounded up to a multiple of this. The added terms are zero.
template <class Op>
constexpr int DEPTH = GROUP<Op>;

inline vf multiply_add(vf sum, const float* a, const float* b) { return sum + *a * load(b); }
#ifdef HAS_BF16_PRODUCT
inline vf multiply_add(vf sum, const bf16* a, const bf16* b) {
    uint32_t pair;
    std::memcpy(&pair, a, sizeof pair);
    const vu pairs = vu{} + pair;
    __m512i many;
    std::memcpy(&many, b, sizeof many);
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)pairs, (__m512bh)many);
}
#endif

// Computes out[M][N*V], the N vectors of a panel's outputs for M rows of `a`. A row of `a` consists
// of `segments` segments of `k` numbers each. They are `stride` apart in `a` and consecutive in the
// panel.
//
// The inner loop runs over the longer side of the tile, so that the operands of the shorter side are
// what stays in registers beside the sums. The operands of the longer side would be too many: some
// sums would be stored and loaded again in every step.
template <class Op, int M, int N>
void tile(const Op* a, int64_t lda, int64_t segments, int64_t stride, int64_t k, const Op* panel,
          float* out) {
    vf sum[M][N] = {};
    for (int64_t s = 0; s < segments; ++s) {
        for (int64_t i = 0; i < k; i += GROUP<Op>) {
#pragma GCC unroll 24
            for (int j = 0; j < M * N; ++j) {
                const int m = M <= N ? j % M : j / N, n = M <= N ? j / M : j % N;
                sum[m][n] = multiply_add(sum[m][n], a + m * lda + i, panel + n * V * GROUP<Op>);
            }
            panel += N * V * GROUP<Op>;
        }
        a += stride;
    }
#pragma GCC unroll 24
    for (int j = 0; j < M * N; ++j) store(out + j * V, sum[j / N][j % N]);
}

template <class Op, int N, int... M>
constexpr auto tiles(std::integer_sequence<int, M...>) {
    using Tile = void (*)(const Op*, int64_t, int64_t, int64_t, int64_t, const Op*, float*);
    return std::array<Tile, sizeof...(M)>{tile<Op, M + 1, N>...};
}

// Products with a panel of N vectors, for up to ROWS rows at a time.
template <class Op, int N>
class Tiles {
public:
    static constexpr int ROWS = SUMS / N;

    // See `tile`.
    void multiply(int rows, const Op* a, int64_t lda, int64_t segments, int64_t stride, int64_t k,
                  const Op* panel, float* out) const {
        static constexpr auto kernels = tiles<Op, N>(std::make_integer_sequence<int, ROWS>{});
        kernels[rows - 1](a, lda, segments, stride, k, panel, out);
    }
};
#endif

// Rows of scratch buffers have a multiple of this length: whole vectors, and whole terms of a sum.
template <class Op>
constexpr int PITCH = std::max(V, DEPTH<Op>);

// A matrix of `outputs` x (segments * k), in panels of N vectors.
template <class Op, int N>
class Panels {
public:
    static constexpr int WIDTH = N * V;  // number of outputs of a panel
    static constexpr int ROWS = Tiles<Op, N>::ROWS;

    Panels(int64_t count, int64_t segments, int64_t k)
        : count(count), segments(segments), k(round_up(k, DEPTH<Op>)),
          data_(count * segments * this->k * WIDTH) {}

    const int64_t count, segments, k;

    // Packs panel `index` of `rows` matrices, one below the other, whose rows are the outputs:
    // `outputs` of length `length` each. The panel takes the same outputs of all matrices in turn.
    template <class S>
    void pack_rows(int64_t index, const S* w, int64_t outputs, int64_t length, int rows) {
        constexpr int BLOCK = 16;  // number of columns at a time, a cache line of each row
        const auto pack = [&](const S* from, int n, int count) {
            for (int64_t i = 0; i < k; i += BLOCK) {
                for (int64_t m = i; m < std::min(i + BLOCK, k); ++m) {
                    Op* const to = at(index, 0, m, n);
                    const int filled = m < length ? count : 0;
                    for (int j = 0; j < filled; ++j)
                        convert(from[j * length + m], to[j * GROUP<Op>]);
                    for (int j = filled; j < V; ++j) to[j * GROUP<Op>] = Op{};
                }
            }
        };
        for (int n = 0; n < N; ++n) {
            const int64_t first = std::min((index * (N / rows) + n / rows) * V, outputs);
            const S* const from = w + (n % rows * outputs + first) * length;
            if (outputs - first >= V)
                pack(from, n, V);  // a constant, so that the loop over it is unrolled
            else
                pack(from, n, int(outputs - first));
        }
    }

    // Packs panel `index` of a matrix whose columns are the outputs. Its rows are summed over, and come
    // in segments of `length`.
    template <class S>
    void pack_columns(int64_t index, const S* w, int64_t outputs, int64_t length) {
        const int64_t first = index * WIDTH;
        for (int64_t segment = 0; segment < segments; ++segment) {
            for (int64_t i = 0; i < k; ++i) {
                const S* const from = w + (segment * length + i) * outputs + first;
                for (int n = 0; n < N; ++n) {
                    Op* const to = at(index, segment, i, n);
                    const int64_t left = i < length ? outputs - first - n * V : 0;
                    if (left >= V) {  // a constant number, so that the loop is unrolled
                        for (int j = 0; j < V; ++j) convert(from[n * V + j], to[j * GROUP<Op>]);
                    } else {
                        for (int j = 0; j < V; ++j) to[j * GROUP<Op>] = Op{};
                        for (int j = 0; j < left; ++j) convert(from[n * V + j], to[j * GROUP<Op>]);
                    }
                }
            }
        }
    }

    // Computes the outputs of a panel for the rows [from, to) of `a`, one tile of rows at a time.
    // `begin(first, last)` is called before each tile. If it returns false, the outputs of the tile
    // are left undefined. `use(row, outputs)` is called for each row after its tile. The segments
    // of a row of `a` are `stride` apart.
    template <class Begin, class Use>
    void multiply(int64_t panel, const Op* a, int64_t lda, int64_t stride, int64_t from, int64_t to,
                  Begin&& begin, Use&& use) const {
        alignas(64) float out[ROWS * WIDTH];
        Tiles<Op, N> tiles;
        const Op* data = data_.get() + panel * segments * k * WIDTH;
        const int64_t blocks = ceil_div(to - from, ROWS);
        for (int64_t block = 0; block < blocks; ++block) {  // of nearly the same size
            const int64_t first = from + (to - from) * block / blocks;
            const int64_t last = from + (to - from) * (block + 1) / blocks;
            if (begin(first, last)) {
                tiles.multiply(int(last - first), a + first * lda, lda, segments, stride, k, data,
                               out);
            }
            for (int64_t row = first; row < last; ++row) use(row, out + (row - first) * WIDTH);
        }
    }

private:
    // The weights from input i of a segment to the outputs of vector n of a panel. Those of
    // neighbouring outputs are GROUP<Op> apart.
    Op* at(int64_t panel, int64_t segment, int64_t i, int n) {
        const int64_t place = (panel * segments + segment) * k + i;
        const int64_t group = place / GROUP<Op>;
        return &data_[(group * N + n) * V * GROUP<Op> + place % GROUP<Op>];
    }

    Buffer<Op> data_;
};
