// A SIMD vector of floats, based on the compiler's vector extension. Its size is VECTOR_BYTES,
// which the including file defines. Everything is computed in float32; storage may be bfloat16.
//
// Included once for each instruction set, inside a separate namespace (see instantiate.h).

constexpr int V = VECTOR_BYTES / 4;  // floats in a vector

typedef float vf __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t vi __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t vu __attribute__((vector_size(VECTOR_BYTES)));
typedef uint16_t vh __attribute__((vector_size(VECTOR_BYTES / 2)));

inline vf splat(float x) { return vf{} + x; }

inline vf widened(vh half) { return reinterpret_cast<vf>(__builtin_convertvector(half, vu) << 16); }

// Rounds to nearest, ties to even; NaN stays NaN.
inline vh narrowed(vf x) {
    const vu bits = reinterpret_cast<vu>(x);
    const vu rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const vu nan = (bits >> 16) | 0x40;
    return __builtin_convertvector(x == x ? rounded : nan, vh);
}

inline vf load(const float* p) {
    vf x;
    std::memcpy(&x, p, sizeof x);
    return x;
}

inline vf load(const bf16* p) {
    vh half;
    std::memcpy(&half, p, sizeof half);
    return widened(half);
}

inline void store(float* p, vf x) { std::memcpy(p, &x, sizeof x); }

inline void store(bf16* p, vf x) {
    const vh half = narrowed(x);
    std::memcpy(p, &half, sizeof half);
}

// Loads the first n of V numbers and sets the others to zero. Does not read beyond the first n.
template <class S>
inline vf load(const S* p, int n) {
    if (n >= V) return load(p);
    S part[V] = {};
    std::memcpy(part, p, n * sizeof(S));
    return load(part);
}

template <class S>
inline void store(S* p, vf x, int n) {
    if (n >= V) return store(p, x);
    S part[V];
    store(part, x);
    std::memcpy(p, part, n * sizeof(S));
}

#if defined(WSUM_X86) && VECTOR_BYTES == 64
// AVX-512 has masks, which are faster than the detour through `part`.
inline __mmask16 first_lanes(int n) { return __mmask16((1u << n) - 1); }

inline vf load(const float* p, int n) {
    return n >= V ? load(p) : (vf)_mm512_maskz_loadu_ps(first_lanes(n), p);
}
inline vf load(const bf16* p, int n) {
    return n >= V ? load(p) : widened((vh)_mm256_maskz_loadu_epi16(first_lanes(n), p));
}
inline void store(float* p, vf x, int n) {
    n >= V ? store(p, x) : _mm512_mask_storeu_ps(p, first_lanes(n), (__m512)x);
}
inline void store(bf16* p, vf x, int n) {
    n >= V ? store(p, x) : _mm256_mask_storeu_epi16(p, first_lanes(n), (__m256i)narrowed(x));
}
#endif

// Keeps the first n of V numbers and replaces the others by `filler`.
inline vf keep_first(vf x, int n, float filler) {
    vi lane;
    for (int i = 0; i < V; ++i) lane[i] = i;
    return lane < n ? x : splat(filler);
}

// The lanes with a number above `limit`, as bits.
inline unsigned above(vf x, float limit) {
#if defined(WSUM_X86) && VECTOR_BYTES == 64
    return _mm512_cmp_ps_mask((__m512)x, (__m512)splat(limit), _CMP_GT_OQ);
#elif defined(WSUM_X86) && VECTOR_BYTES == 32
    return _mm256_movemask_ps((__m256)(x > splat(limit)));
#else
    unsigned bits = 0;
    for (int i = 0; i < V; ++i) bits |= unsigned(x[i] > limit) << i;
    return bits;
#endif
}

// The lanes in use of the vector that starts at n in a row of `size` numbers.
inline int lanes(int64_t n, int64_t size) { return int(std::min<int64_t>(size - n, V)); }

// The arrays that kernels.h calls real hold numbers of type S.
template <class S>
inline const S* as(const void* p) {
    return static_cast<const S*>(p);
}
template <class S>
inline S* as(void* p) {
    return static_cast<S*>(p);
}

inline vf clamp(vf x, float low, float high) {
    x = x < low ? splat(low) : x;  // NaN passes through
    return x > high ? splat(high) : x;
}

// exp(x) with an error of about 1 ulp: e^x = 2^n e^r with |r| <= ln(2) / 2, where e^r is computed
// by the minimax polynomial of Cephes (expf). The result is 0 below -87.7 and infinite above 88.4,
// where the bits of 2^n are those of 0 and infinity. So the gate of an infinite pre-activation is
// exactly 0 or 1. For NaN, n is meaningless, but p is NaN and so is the result.
inline vf exp(vf x) {
    x = clamp(x, -88.0f, 89.0f);  // n from -127 to 128
    const vf shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: rounds to a whole n
    const vf n = shifted - 12582912.0f;
    const vf r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vf p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const vi power = (reinterpret_cast<vi>(shifted) - 0x4b400000 + 127) << 23;
    return p * reinterpret_cast<vf>(power);
}

inline vf sigmoid(vf x) { return 1.0f / (1.0f + exp(-x)); }

// Uses the polynomial of Cephes (tanhf) near 0, where 1 - 2 / (e^2x + 1) loses precision.
inline vf tanh(vf x) {
    const vf s = x * x;
    vf p = splat(-5.70498872745e-3f);
    p = p * s + 2.06390887954e-2f;
    p = p * s - 5.37397155531e-2f;
    p = p * s + 1.33314422036e-1f;
    p = p * s - 3.33332819422e-1f;
    p = p * s * x + x;
    const vf far = 1.0f - 2.0f / (exp(2.0f * clamp(x, -40.0f, 40.0f)) + 1.0f);
    return s < 0.390625f ? p : far;  // |x| < 0.625
}
