// Products in the tile registers of AMX, eight registers of 16 rows of 64 bytes. product.h includes
// this file in place of its own `Tiles`.

// The number of terms of a sum is rounded up to a multiple of this. The added terms are zero.
template <class Op>
constexpr int DEPTH = 64 / sizeof(Op);

// The operand of LDTILECFG: the size of each tile register.
struct alignas(64) TileConfig {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {};  // of a row
    uint8_t rows[16] = {};
};

// Products with a panel of N vectors, for up to ROWS rows at a time, as in product.h.
template <class Op, int N>
class Tiles {
public:
    static constexpr int ROWS = 16;

    ~Tiles() {
        if (rows_) _tile_release();
    }

    void multiply(int rows, const bf16* a, int64_t lda, int64_t segments, int64_t stride, int64_t k,
                  const bf16* panel, float* out) {
        static_assert(N <= 4);
        constexpr int64_t BYTES = N * V * sizeof(float);  // from one pair of terms to the next
        configure(rows);
        // All that the tiles read must be in memory, as the intrinsics do not say that they read it.
        asm volatile("" ::: "memory");
        _tile_zero(0);
        if constexpr (N > 1) _tile_zero(1);
        if constexpr (N > 2) _tile_zero(2);
        if constexpr (N > 3) _tile_zero(3);
        for (int64_t s = 0; s < segments; ++s) {
            for (int64_t i = 0; i < k; i += DEPTH<Op>) {
                _tile_loadd(4, a + i, lda * sizeof(bf16));
                _tile_loadd(5, panel, BYTES);
                _tile_dpbf16ps(0, 4, 5);
                if constexpr (N > 1) {
                    _tile_loadd(6, panel + 2 * V, BYTES);
                    _tile_dpbf16ps(1, 4, 6);
                }
                if constexpr (N > 2) {
                    _tile_loadd(7, panel + 4 * V, BYTES);
                    _tile_dpbf16ps(2, 4, 7);
                }
                if constexpr (N > 3) {
                    _tile_loadd(5, panel + 6 * V, BYTES);
                    _tile_dpbf16ps(3, 4, 5);
                }
                panel += DEPTH<Op> * N * V;
            }
            a += stride;
        }
        _tile_stored(0, out, BYTES);
        if constexpr (N > 1) _tile_stored(1, out + V, BYTES);
        if constexpr (N > 2) _tile_stored(2, out + 2 * V, BYTES);
        if constexpr (N > 3) _tile_stored(3, out + 3 * V, BYTES);
    }

private:
    int rows_ = 0;  // of the present configuration, or 0 without one

    // Gives `rows` rows to the sums (0 to 3) and to `a` (4), and 16 to the panel (5 to 7).
    void configure(int rows) {
        if (rows == rows_) return;
        TileConfig config;
        for (int i = 0; i < 8; ++i) {
            config.bytes[i] = 64;
            config.rows[i] = uint8_t(i < 5 ? rows : ROWS);
        }
        // Not _tile_loadconfig: that of GCC 12 names only the first 8 bytes as read (bug 114098).
        asm volatile("ldtilecfg %0" ::"m"(config));
        rows_ = rows;
    }
};
