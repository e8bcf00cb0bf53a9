// Like avx512.cpp, but bfloat16 matrix products use the instruction for products of pairs.
#include "kernels.h"

#ifdef WSUM_X86_BF16
static bool runs_here() {
    return kernels_avx512.runs_here() && __builtin_cpu_supports("avx512bf16");
}

#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
#define VECTOR_BYTES 64
#define INSTRUCTION_SET avx512_bf16
#define HAS_BF16_PRODUCT
#include "instantiate.h"

const Kernels kernels_avx512_bf16{"avx512_bf16", runs_here, avx512_bf16::run};
#endif
