// Dropout: zeroes numbers at random and scales the others. The random numbers are a function of the
// seed and the position, so the backward pass computes them again, and no mask is stored.
// Included once for each instruction set, after vector.h.

// Threefry-2x32 with 20 rounds: two random words for each counter and key (Salmon et al., "Parallel
// random numbers: as easy as 1, 2, 3", SC 2011, section 4.2).
struct Random {
    vu first, second;
};

template <int BITS>
inline void mix(vu& a, vu& b) {
    a += b;
    b = (b << BITS) | (b >> (32 - BITS));
    b ^= a;
}

inline Random threefry(vu a, vu b, uint32_t key_0, uint32_t key_1) {
    const uint32_t keys[3] = {key_0, key_1, key_0 ^ key_1 ^ 0x1BD11BDA};
    a += keys[0];
    b += keys[1];
    for (uint32_t group = 1; group <= 5; ++group) {
        if (group % 2)
            mix<13>(a, b), mix<15>(a, b), mix<26>(a, b), mix<6>(a, b);
        else
            mix<17>(a, b), mix<29>(a, b), mix<16>(a, b), mix<24>(a, b);
        a += keys[group % 3];
        b += keys[(group + 1) % 3] + group;
    }
    return {a, b};
}

// Counter j gives the words of the numbers i and i + 16 of a block of 32, where j counts such pairs.
// So the result is the same for all instruction sets and numbers of threads.
template <class S>
void dropout(const Dropout& p) {
    constexpr int64_t BLOCK = 32, HALF = BLOCK / 2, ENOUGH = 4096;  // as in cross_entropy.h
    const S* const x = as<S>(p.x);
    S* const y = as<S>(p.y);
    const uint32_t key_0 = uint32_t(p.seed), key_1 = uint32_t(p.seed >> 32);
    const uint32_t threshold = uint32_t(std::min(p.keep * 0x1p32, double(UINT32_MAX)));
    const float scale = 1 / p.keep;
    vu lane = {};
    for (int i = 0; i < V; ++i) lane[i] = i;
    const auto drop = [=](int64_t n, vu word) {
        if (n >= p.size) return;
        const int count = lanes(n, p.size);
        // times zero, so that NaN remains NaN, as in torch
        store(y + n, load(x + n, count) * (word < threshold ? splat(scale) : vf{}), count);
    };
    const int threads = p.size < ENOUGH ? 1 : p.threads;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t n = 0; n < p.size; n += BLOCK) {
        for (int64_t i = 0; i < HALF; i += V) {
            const uint64_t pair = n / 2 + i;
            const vu high = vu{} + uint32_t(pair >> 32);
            const Random words = threefry(lane + uint32_t(pair), high, key_0, key_1);
            drop(n + i, words.first);
            drop(n + HALF + i, words.second);
        }
    }
}
