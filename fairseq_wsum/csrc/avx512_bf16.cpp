// Like avx512.cpp, but bfloat16 matrix products use the instruction for products of pairs.
#include "standard.h"

#ifdef WSUM_X86_BF16
static bool runs_here() {
    return kernels_avx512.runs_here() && __builtin_cpu_supports("avx512bf16");
}

#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
#define VECTOR_BYTES 64
#define INSTRUCTION_SET avx512_bf16
#define HAS_BF16_PRODUCT
#include "instantiate.h"

const Kernels kernels_avx512_bf16{
    "avx512_bf16", runs_here,
    [](const MemoryCell& p, bool backward) { return kernels_avx512.memory_cell(p, backward); },
    [](const Recurrence& p, bool backward) {
        return (p.is_bf16 ? avx512_bf16::recurrence_of : kernels_avx512.recurrence)(p, backward);
    },
    [](const CrossEntropy& p, bool backward) { return kernels_avx512.cross_entropy(p, backward); },
    [](const Candidates& p, bool) { return kernels_avx512.candidates(p, false); },
    [](const Dropout& p, bool) { return kernels_avx512.dropout(p, false); }};
#endif
