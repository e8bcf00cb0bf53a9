#include "kernels.h"

#ifdef WSUM_X86
static bool runs_here() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

#pragma GCC target("avx2,fma")
#define VECTOR_BYTES 32
#define INSTRUCTION_SET avx2
#include "instantiate.h"

const Kernels kernels_avx2{"avx2", runs_here, avx2::run};
#endif
