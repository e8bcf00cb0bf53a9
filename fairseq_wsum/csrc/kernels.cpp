// The C interface. It calls the kernels for the best instruction set that this processor supports.
#include <atomic>

#include "kernels.h"

namespace {

const Kernels* const ALL[] = {
#ifdef WSUM_X86_AMX
    &kernels_amx,
#endif
#ifdef WSUM_X86_BF16
    &kernels_avx512_bf16,
#endif
#ifdef WSUM_X86
    &kernels_avx512,
    &kernels_avx2,
#endif
    &kernels_baseline,
};

const Kernels* best() {
    for (const Kernels* kernels : ALL)
        if (kernels->runs_here()) return kernels;
    return &kernels_baseline;
}

std::atomic<const Kernels*> chosen{nullptr};

const Kernels& kernels() {
    if (!chosen.load()) chosen.store(best());
    return *chosen.load();
}

}  // namespace

extern "C" {

const char* wsum_sources() { return WSUM_SOURCES; }

// Exceptions must not leave a function with C linkage. Kernels allocate their scratch buffers
// before they start threads, so all allocation errors are caught here.
int wsum_run(int operation, const void* problem, int backward) {
    try {
        return kernels().run(operation, problem, backward);
    } catch (const std::bad_alloc&) {
        return 2;
    }
}

const char* wsum_instruction_set() { return kernels().name; }

int wsum_use_instruction_set(const char* name) {
    for (const Kernels* kernels : ALL) {
        if (!std::strcmp(kernels->name, name) && kernels->runs_here()) {
            chosen.store(kernels);
            return 0;
        }
    }
    return 1;
}
}
