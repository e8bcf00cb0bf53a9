#include "kernels.h"

#ifdef WSUM_X86
static bool runs_here() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
#define VECTOR_BYTES 64
#define INSTRUCTION_SET avx512
#include "instantiate.h"

const Kernels kernels_avx512{"avx512", runs_here, avx512::run};
#endif
