// The interface of the CPU kernels. It is plain C, so that one build works with every version of
// torch. kernels.py loads the library and calls `wsum_run`. The structs of operations are repeated in
// recurrence/cpp.py, training/, plugin/decoding/ and plugin/modules/source_attention.py.
//
// Dimensions: T time steps, B sequences, H hidden units, P features of h (P = H without a
// projection). `rows`, `hidden_rows`, `saved_rows` and `vectors` are the numbers of a cell, as in
// recurrence/problem.py, and must be those of the cell in C++ (cell.h). All arrays are contiguous in
// row-major order. A null pointer stands for an array that does not exist or is not needed. "real"
// is bfloat16 if `is_bf16` is set, else float.
//
// The standard headers must be included before any `#pragma GCC target`, because their code must run
// on every processor.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__x86_64__) && !defined(__clang__)
#define WSUM_X86 1  // clang does not support `#pragma GCC target`
// Older versions do not know the instructions. setup.py defines WSUM_NO_BF16 and WSUM_NO_AMX if the
// assembler does not.
#if __GNUC__ >= 10 && !defined(WSUM_NO_BF16)
#define WSUM_X86_BF16 1
#endif
#if __GNUC__ >= 11 && defined(__linux__) && defined(WSUM_X86_BF16) && !defined(WSUM_NO_AMX)
#define WSUM_X86_AMX 1
#endif
#include <immintrin.h>
#endif

// The cells, as in recurrence/problem.py: the parts of the LSTM, or another cell.
enum CellIds : int32_t {
    SRNN = 1,
    OUTPUT_GATE = 2,
    RECURRENT_GATES = 4,
    GATES = 8,
    COUPLED = 16,
    PARTS = 31,
    GRU = 1 << 5,
    MINGRU = 2 << 5,
    MINLSTM = 3 << 5,
    QRNN = 4 << 5,
    SRU = 5 << 5,
    SCAN = 6 << 5,
};

struct bf16 {
    uint16_t bits;
};

#pragma GCC visibility push(default)  // all else is hidden: two builds in a program share nothing
extern "C" {

// The memory cell and the output, computed from complete pre-activations. For cells without products
// with h_{t-1}, and for single steps of all other cells with a memory.
struct MemoryCell {
    int64_t T, B, H, rows, vectors;
    int32_t cell_id, is_bf16, reverse, threads;
    const uint8_t* padding;  // T x B, 1 at padding
    const void* z;           // real, T x B x rows*H
    const void* u;           // real, T x B x H; of the scan only
    const float* v;          // vectors x H
    const float* c_0;        // B x H
    void* y;                 // real, T x B x H; float for the scan
    float* c_n;              // B x H
    float* cells;            // T x B x H: c_t, for the backward pass
    // for the backward pass only
    const void* dy;     // as y
    const float* dc_n;  // B x H
    void* dz;           // real, T x B x rows*H
    void* du;           // as u
    float* dv;          // B x vectors x H, to be summed over B
    float* dc_0;        // B x H
};

// A cell with a recurrent matrix: in every step the product with h_{t-1} and the cell itself.
struct Recurrence {
    int64_t T, B, H, P, rows, hidden_rows, saved_rows;
    int32_t cell_id, is_bf16, reverse, threads;
    const uint8_t* padding;  // T x B, 1 at padding
    const void* z;           // real, T x B x rows*H: the pre-activations from x_t
    const void* w_hh;        // real, hidden_rows*H x P
    const void* b_inner;     // real, hidden_rows*H: the inner biases
    const void* w_hr;        // real, P x H: the projection
    const void* h_0;         // real, B x P
    const float* c_0;        // B x H; null without a memory cell
    void* y;                 // real, T x B x P
    void* h_n;               // real, B x P
    float* c_n;              // B x H
    void* saved;             // real, T x B x saved_rows*H: for the backward pass
    float* cells;            // T x B x H: c_t, for the backward pass
    void* states;            // real, T x B x P: h_t, which differs from y at padding, where y is 0
    // for the backward pass only
    const void* dy;     // real, T x B x P
    const void* dh_n;   // real, B x P
    const float* dc_n;  // B x H
    void* dz;           // real, T x B x rows*H
    void* dh;           // real, T x B x P: the gradient of h_t; null without a projection
    void* dh_0;         // real, B x P
    float* dc_0;        // B x H
};

// The cross entropy of N rows of logits over W words: -log softmax(z), at the target and summed
// over all words.
struct CrossEntropy {
    int64_t N, W, ignored;  // rows with the target `ignored` have zero losses and gradients
    int32_t is_bf16, threads;
    const void* z;           // real, N x W
    const int64_t* targets;  // N, from 0 to W - 1 or `ignored`
    float* nll;              // N: -log p of the target
    float* smooth;           // N: the sum of -log p over all words
    double* logsumexp;       // N: log sum exp(z), for the backward pass
    // for the backward pass only
    const float* dnll;     // N
    const float* dsmooth;  // N
    void* dz;              // real, N x W
};

// The best words of N rows of logits over W words: the first `first` words, and then the best k of
// the others, in falling order.
struct Candidates {
    int64_t N, W, first, k;
    int32_t is_bf16, threads;
    int32_t normalised;  // z has log-probabilities
    const void* z;       // real, N x W
    float* log_p;        // N x (first + k)
    int64_t* words;      // N x (first + k)
};

// Attention of one query of each of N = B * R hypotheses, R of each of B sources, to the S positions
// of its source. G heads have D features each.
struct Attention {
    int64_t B, R, S, G, D;
    int32_t is_bf16, threads;
    const void* q;      // real, N x G*D: times 1 / sqrt(D)
    const void* k;      // real, B x G x D x S
    const void* v;      // real, B x G x S x D
    const float* mask;  // B x S, not zero at padding; or null
    void* y;            // real, N x G*D: sum_s weights v
    float* weights;     // N x G x S: softmax_s q k
};

// y = x / keep with probability `keep`, else 0
struct Dropout {
    double keep;
    int64_t size;
    uint64_t seed;
    int32_t is_bf16, threads;
    const void* x;  // real, size
    void* y;        // real, size
};

// The hash of the sources that setup.py defines. kernels.py rejects a library of other sources.
const char* wsum_sources();

// Runs an operation; `problem` points to its struct. Returns 0 on success; 1 if the operation or the
// cell is unknown, if the cell has other numbers of rows or vectors, or if a target is invalid; and 2
// if an allocation failed.
enum Operation : int32_t { MEMORY_CELL, RECURRENCE, CROSS_ENTROPY, CANDIDATES, ATTENTION, DROPOUT };
int wsum_run(int operation, const void* problem, int backward);

// The instruction set in use: "amx", "avx512_bf16", "avx512", "avx2" or "baseline".
const char* wsum_instruction_set();
// Selects another instruction set, for tests. Returns 1 if this processor or build lacks it.
int wsum_use_instruction_set(const char* name);
}
#pragma GCC visibility pop

#ifdef _OPENMP
inline int thread_rank() { return omp_get_thread_num(); }
inline int thread_count() { return omp_get_num_threads(); }
#else
inline int thread_rank() { return 0; }
inline int thread_count() { return 1; }
#endif

// The kernels for one instruction set.
struct Kernels {
    const char* name;
    bool (*runs_here)();
    int (*run)(int operation, const void* problem, bool backward);  // as `wsum_run`
};

extern const Kernels kernels_baseline;
#ifdef WSUM_X86
extern const Kernels kernels_avx2, kernels_avx512, kernels_avx512_bf16, kernels_amx;
#endif
