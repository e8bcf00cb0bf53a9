// Like avx512_bf16.cpp, but bfloat16 matrix products use the tiles of AMX.
#include "kernels.h"

#ifdef WSUM_X86_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

// Asks Linux for permission to use the tile registers, for the whole process. oneDNN in torch does
// the same.
static bool may_use_tiles() {
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // of <asm/prctl.h>, Linux 5.16
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

static bool runs_here() {
    constexpr unsigned BF16 = 1u << 22, TILES = 1u << 24;
    unsigned a, b, c, d;
    return kernels_avx512_bf16.runs_here() && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
           (d & BF16) && (d & TILES) && may_use_tiles();
}

#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16")
#define VECTOR_BYTES 64
#define INSTRUCTION_SET amx
#define HAS_BF16_PRODUCT
#define HAS_AMX
#include "instantiate.h"

const Kernels kernels_amx{"amx", runs_here, amx::run};
#endif
