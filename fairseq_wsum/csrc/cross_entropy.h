// The cross entropy over a vocabulary and its gradient. Each takes one pass over the logits and
// needs no array of probabilities.
// Included once for each instruction set, after vector.h.

inline float largest(vf x) {
    float high = x[0];
    for (int i = 1; i < V; ++i) high = x[i] > high ? x[i] : high;
    return high;
}

inline double total(vf x) {
    double sum = 0;
    for (int i = 0; i < V; ++i) sum += x[i];
    return sum;
}

#if defined(__GLIBC__) && defined(__x86_64__)
// The symbols of every glibc: those of 2.29 would keep a wheel from older systems.
__asm__(".symver exp, exp@GLIBC_2.2.5");
__asm__(".symver log, log@GLIBC_2.2.5");
#endif

// Running sums over one row of logits: of exp(z - high), and of z.
struct RowSums {
    float high = -INFINITY;  // the largest z so far
    double exps = 0, scores = 0;

    // Adds a block of the row. Blocks are short enough to stay in the L1 cache for the second pass,
    // and to be summed in float32.
    template <class S>
    void add(const S* z, int64_t size) {
        const int64_t whole = size - size % V;
        const int rest = int(size - whole);
        vf most = splat(-INFINITY);
        for (int64_t w = 0; w < whole; w += V) {
            const vf x = load(z + w);
            most = x > most ? x : most;
        }
        if (rest) {
            const vf x = keep_first(load(z + whole, rest), rest, -INFINITY);
            most = x > most ? x : most;
        }
        const float block = largest(most);
        if (block > high) {
            exps *= std::exp(double(high) - block);
            high = block;
        }
        const float origin = high > -INFINITY ? high : 0;
        vf e = {}, s = {};
        for (int64_t w = 0; w < whole; w += V) {
            const vf x = load(z + w);
            e += exp(x - origin);
            s += x;
        }
        if (rest) {
            const vf x = load(z + whole, rest);
            e += keep_first(exp(x - origin), rest, 0);
            s += x;
        }
        exps += total(e);
        scores += total(s);
    }

    double logsumexp() const { return high + std::log(exps); }
};

// Calls work(n) for every row, in parallel. Rows at padding take almost no time, so each thread
// gets chunks of rows from the whole batch. With single rows, threads would wait for the same new
// memory pages; with large chunks of few rows, some would have nothing to do.
template <class Work>
void for_each_row(const CrossEntropy& p, Work&& work) {
    constexpr int64_t ENOUGH = 4096;  // numbers; fewer are faster on one thread
    const int threads = p.N * p.W < ENOUGH ? 1 : p.threads;
    const int chunk = int(std::clamp<int64_t>(p.N / (4 * threads), 1, 16));
#pragma omp parallel for num_threads(threads) schedule(static, chunk)
    for (int64_t n = 0; n < p.N; ++n) work(n);
}

inline bool targets_are_words(const CrossEntropy& p) {
    return std::all_of(p.targets, p.targets + p.N, [&](int64_t target) {
        return target == p.ignored || (target >= 0 && target < p.W);
    });
}

template <class S>
void cross_entropy(const CrossEntropy& p) {
    constexpr int64_t BLOCK = 1024;
    for_each_row(p, [&](int64_t n) {
        p.nll[n] = p.smooth[n] = p.logsumexp[n] = 0;
        if (p.targets[n] == p.ignored) return;
        const S* const z = as<S>(p.z) + n * p.W;
        RowSums sums;
        for (int64_t w = 0; w < p.W; w += BLOCK) sums.add(z + w, std::min(BLOCK, p.W - w));
        const double logsumexp = sums.logsumexp();
        p.logsumexp[n] = logsumexp;
        p.nll[n] = float(logsumexp - load(z + p.targets[n], 1)[0]);
        p.smooth[n] = float(p.W * logsumexp - sums.scores);
    });
}

template <class S>
void cross_entropy_backward(const CrossEntropy& p) {
    for_each_row(p, [&](int64_t n) {
        const S* const z = as<S>(p.z) + n * p.W;
        S* const dz = as<S>(p.dz) + n * p.W;
        const int64_t target = p.targets[n];
        if (target == p.ignored) {
            std::memset(dz, 0, p.W * sizeof(S));
            return;
        }
        const float dnll = p.dnll ? p.dnll[n] : 0, dsmooth = p.dsmooth ? p.dsmooth[n] : 0;
        const float scale = dnll + p.W * dsmooth;
        // in two parts, so that the difference is exact for large logits too
        const float coarse = float(p.logsumexp[n]), fine = float(p.logsumexp[n] - coarse);
        const auto gradient = [=](vf x) {
            const vf log_p = x - coarse - fine;
            // treat less than 2e-35 as zero, because arithmetic with subnormal numbers is slow
            return scale * (log_p < -80.0f ? vf{} : exp(log_p)) - dsmooth;
        };
        for (int64_t w = 0; w < p.W; w += V) {
            const int count = lanes(w, p.W);
            store(dz + w, gradient(load(z + w, count)), count);
        }
        store(dz + target, gradient(load(z + target, 1)) - dnll, 1);  // rounded once
    });
}
