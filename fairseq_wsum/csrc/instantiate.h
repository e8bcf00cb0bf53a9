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

int cross_entropy_of(const CrossEntropy& p, bool backward) {
    if (!targets_are_words(p)) return 1;
    if (p.is_bf16)
        backward ? cross_entropy_backward<bf16>(p) : cross_entropy<bf16>(p);
    else
        backward ? cross_entropy_backward<float>(p) : cross_entropy<float>(p);
    return 0;
}

int candidates_of(const Candidates& p, bool) {
    if (p.first < 0 || p.k < 0 || p.first + p.k > p.W) return 1;
    p.is_bf16 ? candidates<bf16>(p) : candidates<float>(p);
    return 0;
}

int dropout_of(const Dropout& p, bool) {
    p.is_bf16 ? dropout<bf16>(p) : dropout<float>(p);
    return 0;
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
int run(const Problem& p, bool backward) {
    if (!fits<C>(p)) return 1;
    compute<C>(p, backward);
    return 0;
}

// Selects the variant with or without an output gate, and with or without coupled gates.
template <unsigned Bits, class Problem>
int run_lstm(const Problem& p, bool backward) {
    switch (p.cell_id & (OUTPUT_GATE | COUPLED)) {
        case 0: return run<Lstm<Bits | GATES>>(p, backward);
        case OUTPUT_GATE: return run<Lstm<Bits | GATES | OUTPUT_GATE>>(p, backward);
        case COUPLED: return run<Lstm<Bits | GATES | COUPLED>>(p, backward);
        default: return run<Lstm<Bits | GATES | OUTPUT_GATE | COUPLED>>(p, backward);
    }
}

#ifndef HAS_BF16_PRODUCT

int memory_cell_of(const MemoryCell& p, bool backward) {
    switch (p.cell_id) {
        case GRU: return run<GruStep>(p, backward);
        case MINGRU: return run<MinGru>(p, backward);
        case MINLSTM: return run<MinLstm>(p, backward);
        case QRNN: return run<Qrnn>(p, backward);
        case SRU: return run<Sru>(p, backward);
        case SCAN: return run<Scan>(p, backward);
    }
    if (p.cell_id > PARTS || !(p.cell_id & GATES)) return 1;
    // z is complete, so it does not matter whether the gates depend on h_{t-1}
    return p.cell_id & SRNN ? run_lstm<SRNN>(p, backward) : run_lstm<0>(p, backward);
}

#endif

int recurrence_of(const Recurrence& p, bool backward) {
    if (p.cell_id == GRU) return run<Gru>(p, backward);
    if (p.cell_id == SRNN) return run<Lstm<SRNN>>(p, backward);
    switch (p.cell_id & ~(OUTPUT_GATE | COUPLED)) {
        case GATES | SRNN: return run_lstm<SRNN>(p, backward);
        case GATES | RECURRENT_GATES: return run_lstm<RECURRENT_GATES>(p, backward);
        case GATES | SRNN | RECURRENT_GATES:
            return run_lstm<SRNN | RECURRENT_GATES>(p, backward);
        default: return 1;
    }
}

}  // namespace INSTRUCTION_SET
