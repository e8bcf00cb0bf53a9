// The instruction set that every processor of the target architecture supports: SSE2 or NEON.
#include "kernels.h"

#define VECTOR_BYTES 16
#define INSTRUCTION_SET baseline
#include "instantiate.h"

const Kernels kernels_baseline{"baseline", [] { return true; }, baseline::run};
