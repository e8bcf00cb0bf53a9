// The best words of each row of logits and their log-probabilities, in one pass over the logits.
// Included once for each instruction set, after cross_entropy.h.

// The best k words of a row so far, in falling order. They must be added in the order of the
// vocabulary: of equal ones, the first comes first. NaN counts as minus infinity.
class Best {
public:
    Best(float* scores, int64_t* words, int64_t k) : scores_(scores), words_(words), k_(k) {}

    bool is_full() const { return size_ == k_; }
    float lowest() const { return k_ > 0 ? scores_[k_ - 1] : INFINITY; }  // once it is full

    void add(float score, int64_t word) {
        if (is_full() && !(score > lowest())) return;
        if (!(score > -INFINITY)) score = -INFINITY;
        int64_t place = is_full() ? k_ - 1 : size_++;
        for (; place > 0 && scores_[place - 1] < score; --place) {
            scores_[place] = scores_[place - 1];
            words_[place] = words_[place - 1];
        }
        scores_[place] = score;
        words_[place] = word;
    }

private:
    float* const scores_;
    int64_t* const words_;
    const int64_t k_;
    int64_t size_ = 0;
};

// Adds the words from `from` to `to` of a row.
template <class S>
void add_words(Best& best, const S* z, int64_t from, int64_t to) {
    for (; from < to && !best.is_full(); ++from) best.add(load(z + from, 1)[0], from);
    for (; from < to; from += V) {
        const int count = lanes(from, to);
        const vf x = load(z + from, count);
        // in the order of the vocabulary; once a word is added, some of the others may be too low
        for (unsigned left = above(x, best.lowest()) & ((1u << count) - 1); left; left &= left - 1) {
            const int i = __builtin_ctz(left);
            best.add(x[i], from + i);
        }
    }
}

template <class S>
void candidates(const Candidates& p) {
    constexpr int64_t BLOCK = 1024;  // it stays in the L1 cache between the sums and the best
    const int64_t width = p.first + p.k;
    const int threads = p.N * p.W < 4096 ? 1 : p.threads;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t n = 0; n < p.N; ++n) {
        const S* const z = as<S>(p.z) + n * p.W;
        float* const log_p = p.log_p + n * width;
        int64_t* const words = p.words + n * width;
        Best best(log_p + p.first, words + p.first, p.k);
        RowSums sums;
        for (int64_t w = 0; w < p.W; w += BLOCK) {
            const int64_t end = std::min(w + BLOCK, p.W);
            if (!p.normalised) sums.add(z + w, end - w);
            add_words(best, z, std::max(w, p.first), end);
        }
        for (int64_t w = 0; w < p.first; ++w) {
            log_p[w] = load(z + w, 1)[0];
            words[w] = w;
        }
        const double logsumexp = p.normalised ? 0 : sums.logsumexp();
        for (int64_t i = 0; i < width; ++i) {
            const float x = float(log_p[i] - logsumexp);
            log_p[i] = x == x ? x : -INFINITY;  // as fairseq has it
        }
    }
}
