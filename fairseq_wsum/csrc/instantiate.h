// All kernels for one instruction set. The including file defines VECTOR_BYTES and INSTRUCTION_SET,
// the name of the namespace. If it defines HAS_BF16_PRODUCT, only the kernels that use the bfloat16
// product instruction are compiled.

namespace INSTRUCTION_SET {

#include "vector.h"
#include "parallel.h"
#include "product.h"
#include "cell.h"
#include "lstm.h"
#include "gru.h"
#include "mingru.h"
#include "minlstm.h"
#include "qrnn.h"
#include "sru.h"
#include "scan.h"
#include "memory_cell.h"
#include "recurrence.h"
#include "cross_entropy.h"
#include "candidates.h"
#include "attention.h"
#include "dropout.h"

#ifdef HAS_BF16_PRODUCT

template <class C>
void compute(const Recurrence& p, bool backward) {
    backward ? recurrence_backward<C, bf16, bf16>(p) : recurrence<C, bf16, bf16>(p);
}

#else

template <class C>
void compute(const MemoryCell& p, bool backward) {
    if (p.is_bf16)
        backward ? memory_cell_backward<C, bf16>(p) : memory_cell<C, bf16>(p);
    else
        backward ? memory_cell_backward<C, float>(p) : memory_cell<C, float>(p);
}

template <class C>
void compute(const Recurrence& p, bool backward) {
    if (p.is_bf16)
        backward ? recurrence_backward<C, bf16, float>(p) : recurrence<C, bf16, float>(p);
    else
        backward ? recurrence_backward<C, float, float>(p) : recurrence<C, float, float>(p);
}

#endif

// Whether Python allocated the arrays for the numbers of rows and vectors of this cell.
template <class C>
bool fits(const MemoryCell& p) {
    return p.rows == C::rows && p.vectors == C::vectors;
}
template <class C>
bool fits(const Recurrence& p) {
    return p.rows == C::rows && p.hidden_rows == C::hidden_rows && p.saved_rows == C::values;
}

template <class C, class Problem>
int checked(const Problem& p, bool backward) {
    if (!fits<C>(p)) return 1;
    compute<C>(p, backward);
    return 0;
}

// Selects the variant with or without an output gate, and with or without coupled gates.
template <unsigned Bits, class Problem>
int run_lstm(const Problem& p, bool backward) {
    switch (p.cell_id & (OUTPUT_GATE | COUPLED)) {
        case 0: return checked<Lstm<Bits | GATES>>(p, backward);
        case OUTPUT_GATE: return checked<Lstm<Bits | GATES | OUTPUT_GATE>>(p, backward);
        case COUPLED: return checked<Lstm<Bits | GATES | COUPLED>>(p, backward);
        default: return checked<Lstm<Bits | GATES | OUTPUT_GATE | COUPLED>>(p, backward);
    }
}

#ifndef HAS_BF16_PRODUCT

int memory_cell_of(const MemoryCell& p, bool backward) {
    switch (p.cell_id) {
        case GRU: return checked<GruStep>(p, backward);
        case MINGRU: return checked<MinGru>(p, backward);
        case MINLSTM: return checked<MinLstm>(p, backward);
        case QRNN: return checked<Qrnn>(p, backward);
        case SRU: return checked<Sru>(p, backward);
        case SCAN: return checked<Scan>(p, backward);
    }
    if (p.cell_id > PARTS || !(p.cell_id & GATES)) return 1;
    // z is complete, so it does not matter whether the gates depend on h_{t-1}
    return p.cell_id & SRNN ? run_lstm<SRNN>(p, backward) : run_lstm<0>(p, backward);
}

#endif

int recurrence_of(const Recurrence& p, bool backward) {
    if (p.cell_id == GRU) return checked<Gru>(p, backward);
    if (p.cell_id == SRNN) return checked<Lstm<SRNN>>(p, backward);
    switch (p.cell_id & ~(OUTPUT_GATE | COUPLED)) {
        case GATES | SRNN: return run_lstm<SRNN>(p, backward);
        case GATES | RECURRENT_GATES: return run_lstm<RECURRENT_GATES>(p, backward);
        case GATES | SRNN | RECURRENT_GATES:
            return run_lstm<SRNN | RECURRENT_GATES>(p, backward);
        default: return 1;
    }
}

int run(int operation, const void* problem, bool backward) {
#ifdef HAS_BF16_PRODUCT
    if (operation == RECURRENCE && as<Recurrence>(problem)->is_bf16)
        return recurrence_of(*as<Recurrence>(problem), backward);
    return kernels_avx512.run(operation, problem, backward);
#else
    switch (operation) {
        case MEMORY_CELL: return memory_cell_of(*as<MemoryCell>(problem), backward);
        case RECURRENCE: return recurrence_of(*as<Recurrence>(problem), backward);
        case CROSS_ENTROPY: {
            const CrossEntropy& p = *as<CrossEntropy>(problem);
            if (!targets_are_words(p)) return 1;
            if (p.is_bf16)
                backward ? cross_entropy_backward<bf16>(p) : cross_entropy<bf16>(p);
            else
                backward ? cross_entropy_backward<float>(p) : cross_entropy<float>(p);
            return 0;
        }
        case CANDIDATES: {
            const Candidates& p = *as<Candidates>(problem);
            p.is_bf16 ? candidates<bf16>(p) : candidates<float>(p);
            return 0;
        }
        case ATTENTION: {
            const Attention& p = *as<Attention>(problem);
            p.is_bf16 ? attention<bf16>(p) : attention<float>(p);
            return 0;
        }
        case DROPOUT: {
            const Dropout& p = *as<Dropout>(problem);
            p.is_bf16 ? dropout<bf16>(p) : dropout<float>(p);
            return 0;
        }
    }
    return 1;
#endif
}

}  // namespace INSTRUCTION_SET
