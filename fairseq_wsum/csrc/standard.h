// Standard headers. They must be included before any `#pragma GCC target`, because their code must
// run on every processor.
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

#include "kernels.h"

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
    int (*memory_cell)(const MemoryCell&, bool backward);
    int (*recurrence)(const Recurrence&, bool backward);
    int (*cross_entropy)(const CrossEntropy&, bool backward);
    int (*candidates)(const Candidates&, bool);
    int (*dropout)(const Dropout&, bool);
};

extern const Kernels kernels_baseline;
#ifdef WSUM_X86
extern const Kernels kernels_avx2, kernels_avx512, kernels_avx512_bf16, kernels_amx;
#endif
