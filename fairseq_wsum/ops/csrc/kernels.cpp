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
template <class Run>
int guarded(const Run& run) {
    try {
        return run();
    } catch (const std::bad_alloc&) {
        return 2;
    }
}

}  // namespace

extern "C" {

const char* wsum_sources() { return WSUM_SOURCES; }

int wsum_memory_cell(const MemoryCell* p) {
    return guarded([p] { return kernels().memory_cell(*p, false); });
}
int wsum_memory_cell_backward(const MemoryCell* p) {
    return guarded([p] { return kernels().memory_cell(*p, true); });
}
int wsum_scan(const Scan* p) {
    return guarded([p] { return kernels().scan(*p, false); });
}
int wsum_scan_backward(const Scan* p) {
    return guarded([p] { return kernels().scan(*p, true); });
}
int wsum_recurrence(const Recurrence* p) {
    return guarded([p] { return kernels().recurrence(*p, false); });
}
int wsum_recurrence_backward(const Recurrence* p) {
    return guarded([p] { return kernels().recurrence(*p, true); });
}
int wsum_cross_entropy(const CrossEntropy* p) {
    return guarded([p] { return kernels().cross_entropy(*p, false); });
}
int wsum_cross_entropy_backward(const CrossEntropy* p) {
    return guarded([p] { return kernels().cross_entropy(*p, true); });
}
int wsum_candidates(const Candidates* p) {
    return guarded([p] { return kernels().candidates(*p); });
}
int wsum_dropout(const Dropout* p) {
    return guarded([p] { return kernels().dropout(*p); });
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
