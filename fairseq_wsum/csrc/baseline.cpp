// The instruction set that every processor of the target architecture supports: SSE2 or NEON.
#include "standard.h"

#define VECTOR_BYTES 16
#define INSTRUCTION_SET baseline
#include "instantiate.h"

const Kernels kernels_baseline{"baseline", [] { return true; }, baseline::memory_cell_of,
        baseline::recurrence_of, baseline::cross_entropy_of,
        baseline::candidates_of, baseline::dropout_of};
