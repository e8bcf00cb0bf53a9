// The interface of the CPU kernels: plain C, so that one build serves every version of torch.
// kernels.py loads it; backends/cpp.py and cross_entropy.py call it, where the structs stand again.
//
// T time steps, B sequences, H hidden units, P features of h (P = H without a projection), rows:
// `x_rows` of pre-activations, of which `h_rows` see h_{t-1}. All arrays are dense, the last index
// the fastest. A null pointer is what is not there or not wanted. "real" is float, or bfloat16
// where `is_bf16`.
#pragma once

#include <cstdint>

enum CellBits : unsigned {
    SRNN = 1,
    OUTPUT_GATE = 2,
    RECURRENT_GATES = 4,
    GATES = 8,
    COUPLED = 16,
};

struct bf16 {
    uint16_t bits;
};

extern "C" {

// A cell from its complete pre-activations (one whose gates and content see x_t only, or a single
// step of any): its memory cell, a gated sum, and its output.
struct GatedSum {
    int64_t T, B, H;
    int32_t cell, is_bf16, reverse, threads;
    const uint8_t* padding;  // T x B, 1 at padding
    const void* z;           // real, T x B x x_rows*H
    const float* c_0;        // B x H
    void* y;                 // real, T x B x H
    float* c_n;              // B x H
    float* cells;            // T x B x H: c_t, for the backward pass
    // backward
    const void* dy;     // real, T x B x H
    const float* dc_n;  // B x H
    void* dz;           // real, T x B x x_rows*H
    float* dc_0;        // B x H
};

// A cell with h_{t-1} in it.
struct Recurrence {
    int64_t T, B, H, P;
    int32_t cell, is_bf16, reverse, threads;
    const uint8_t* padding;  // T x B, 1 at padding
    const void* z;           // real, T x B x x_rows*H: what comes from x_t
    const void* w_hh;        // real, h_rows*H x P
    const void* w_hr;        // real, P x H: the projection
    const void* h_0;         // real, B x P
    const float* c_0;        // B x H; null without gates
    void* y;                 // real, T x B x P
    void* h_n;               // real, B x P
    float* c_n;              // B x H
    void* gates;             // real, T x B x x_rows*H: the activated rows, for the backward pass
    float* cells;            // T x B x H: c_t, for the backward pass
    void* states;            // real, T x B x P: h_t, also at padding, where y is zero
    // backward
    const void* dy;     // real, T x B x P
    const void* dh_n;   // real, B x P
    const float* dc_n;  // B x H
    void* dz;           // real, T x B x x_rows*H
    void* dh;           // real, T x B x P: the gradient of h_t, with a projection only
    void* dh_0;         // real, B x P
    float* dc_0;        // B x H
};

// Of N rows of scores over W words with the right words: -log softmax(z), at the target and summed
// over all words.
struct CrossEntropy {
    int64_t N, W, ignored;  // a target that is `ignored` makes its row zero, and its gradient
    int32_t is_bf16, threads;
    const void* z;           // real, N x W
    const int64_t* targets;  // N, from 0 to W - 1 or `ignored`
    float* nll;              // N: -log p of the target
    float* smooth;           // N: the sum of -log p over all words
    double* logsumexp;       // N: log sum exp(z), for the backward pass
    // backward
    const float* dnll;     // N
    const float* dsmooth;  // N
    void* dz;              // real, N x W
};

// Raised with every change of the above; kernels.py refuses a library of another one.
enum { WSUM_INTERFACE = 3 };
int wsum_interface();

// They return 0, 1 where there is no such cell or a target is no word, or 2 where there is not enough memory.
int wsum_gated_sum(const GatedSum*);
int wsum_gated_sum_backward(const GatedSum*);
int wsum_recurrence(const Recurrence*);
int wsum_recurrence_backward(const Recurrence*);
int wsum_cross_entropy(const CrossEntropy*);
int wsum_cross_entropy_backward(const CrossEntropy*);

// What the kernels were chosen for: "avx512_bf16", "avx512", "avx2" or "baseline".
const char* wsum_instruction_set();
// Takes another instruction set, for tests; returns 1 if this processor or build has no such.
int wsum_use_instruction_set(const char* name);
}
