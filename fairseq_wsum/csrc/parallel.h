// Scratch buffers, and the division of work among threads.
// Included once for each instruction set.

// An uninitialised array that is aligned to a cache line. (C++17's aligned `operator new` does not
// compile for macOS before 10.13, for which some Pythons build.)
template <class T>
class Buffer {
public:
    explicit Buffer(int64_t size)
        : memory_(operator new(size * sizeof(T) + LINE)), data_(aligned(memory_)) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { operator delete(memory_); }

    T* get() const { return data_; }
    T& operator[](int64_t i) const { return data_[i]; }

private:
    static constexpr uintptr_t LINE = 64;  // bytes
    static T* aligned(void* memory) {
        return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory) + LINE - 1) / LINE * LINE);
    }

    void* const memory_;
    T* const data_;
};

struct Range {
    int64_t from, to;
};

inline Range share(int64_t size, int64_t part, int64_t parts) {
    return {size * part / parts, size * (part + 1) / parts};
}

// The part of a batch that one thread computes. With many sequences, each thread has its own
// sequences and never waits for other threads. Few sequences per thread would not fill the
// registers, and each thread would read the whole matrix W_*h. In that case each thread
// computes a part of the units for all sequences, with a barrier after every step. Fewer sequences
// are enough if the matrix stays in the cache of a core. If a step has little work, waiting at the
// barrier takes longer than the work, and one thread computes all. The limits are estimates, which no
// benchmark of this repository varies.
struct Team {
    static constexpr int64_t CACHE = 1 << 20;
    static constexpr int64_t ENOUGH = 1 << 17;  // multiplications of a step

    // The number of threads for a problem.
    static int threads(const Recurrence& p) {
        return p.B * weights(p) < ENOUGH ? 1 : p.threads;
    }

    // The team of this thread; the weights have `bytes` each.
    Team(const Recurrence& p, int64_t bytes)
        : rank(thread_rank()), size(thread_count()),
          shares_units(size > 1 && p.B < (weights(p) * bytes > CACHE ? 12 : 8) * size),
          sequences(shares_units ? Range{0, p.B} : share(p.B, rank, size)) {}

    const int64_t rank, size;
    const bool shares_units;
    const Range sequences;  // of this thread

    Range panels(int64_t count) const {
        return shares_units ? share(count, rank, size) : Range{0, count};
    }

private:
    static int64_t weights(const Recurrence& p) { return p.hidden_rows * p.H * p.P; }
};
