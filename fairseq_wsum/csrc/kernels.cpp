// The C interface. It calls the kernels for the best instruction set that this processor supports.
#include <atomic>

#include "standard.h"

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

// Exceptions must not leave a function with C linkage. Kernels allocate their scratch buffers
// before they start threads, so all allocation errors are caught here.
template <class Problem>
int run(int (*kernel)(const Problem&, bool), const Problem* p, bool backward) {
    try {
        return kernel(*p, backward);
    } catch (const std::bad_alloc&) {
        return 2;
    }
}

}  // namespace

extern "C" {

const char* wsum_sources() { return WSUM_SOURCES; }

int wsum_memory_cell(const MemoryCell* p, int backward) {
    return run(kernels().memory_cell, p, backward);
}
int wsum_recurrence(const Recurrence* p, int backward) {
    return run(kernels().recurrence, p, backward);
}
int wsum_cross_entropy(const CrossEntropy* p, int backward) {
    return run(kernels().cross_entropy, p, backward);
}
int wsum_candidates(const Candidates* p, int) { return run(kernels().candidates, p, false); }
int wsum_dropout(const Dropout* p, int) { return run(kernels().dropout, p, false); }

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
