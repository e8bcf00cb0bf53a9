// Attention of a step of decoding to the source: its matrices are so small that a call for each of
// them would take longer than the arithmetic.
// Included once for each instruction set, after cross_entropy.h.

// Softmax over the scores of a row, in place.
inline void softmax(float* row, int64_t size) {
    vf most = splat(-INFINITY), exps = {};
    for (int64_t s = 0; s < size; s += V) {
        const int count = lanes(s, size);
        const vf x = keep_first(load(row + s, count), count, -INFINITY);
        most = x > most ? x : most;
    }
    const float high = largest(most);
    for (int64_t s = 0; s < size; s += V) {
        const int count = lanes(s, size);
        const vf e = exp(load(row + s, count) - high);
        store(row + s, e, count);
        exps += keep_first(e, count, 0);
    }
    const float scale = float(1 / total(exps));
    for (int64_t s = 0; s < size; ++s) row[s] *= scale;
}

// The attention of some hypotheses of one source by one head. The pointers are to the first of them.
template <int ROWS, class S>
void attend(const Attention& p, const S* q, const S* k, const S* v, const float* mask, S* y,
            float* weights) {
    const int64_t row = p.G * p.D, weights_row = p.G * p.S;
    for (int64_t s = 0; s < p.S; s += V) {
        const int count = lanes(s, p.S);
        vf scores[ROWS] = {};
        for (int64_t d = 0; d < p.D; ++d) {
            const vf keys = load(k + d * p.S + s, count);
            for (int r = 0; r < ROWS; ++r) scores[r] += load(q + r * row + d, 1)[0] * keys;
        }
        const vf is_padding = mask ? load(mask + s, count) : vf{};
        for (int r = 0; r < ROWS; ++r)
            store(weights + r * weights_row + s, is_padding != 0 ? splat(-INFINITY) : scores[r],
                  count);
    }
    for (int r = 0; r < ROWS; ++r) softmax(weights + r * weights_row, p.S);
    for (int64_t d = 0; d < p.D; d += V) {
        const int count = lanes(d, p.D);
        vf sums[ROWS] = {};
        for (int64_t s = 0; s < p.S; ++s) {
            const vf values = load(v + s * p.D + d, count);
            for (int r = 0; r < ROWS; ++r) sums[r] += weights[r * weights_row + s] * values;
        }
        for (int r = 0; r < ROWS; ++r) store(y + r * row + d, sums[r], count);
    }
}

template <class S>
void attention(const Attention& p) {
    constexpr int ROWS = 4;
    const int threads = p.B * p.R * p.S * p.G * p.D < 65536 ? 1 : p.threads;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t b = 0; b < p.B; ++b) {
        const float* const mask = p.mask ? p.mask + b * p.S : nullptr;
        for (int64_t g = 0; g < p.G; ++g) {
            const S* const k = as<S>(p.k) + (b * p.G + g) * p.S * p.D;
            const S* const v = as<S>(p.v) + (b * p.G + g) * p.S * p.D;
            for (int64_t r = 0; r < p.R;) {
                const int64_t head = (b * p.R + r) * p.G + g;
                const S* const q = as<S>(p.q) + head * p.D;
                S* const y = as<S>(p.y) + head * p.D;
                float* const weights = p.weights + head * p.S;
                const bool many = p.R - r >= ROWS;
                many ? attend<ROWS>(p, q, k, v, mask, y, weights)
                     : attend<1>(p, q, k, v, mask, y, weights);
                r += many ? ROWS : 1;
            }
        }
    }
}
