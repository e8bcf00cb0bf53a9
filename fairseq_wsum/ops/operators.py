"""The two operations of a layer as custom operators of torch.

    gated_sum    computes the memory cell and the output from complete pre-activations: for a cell
                 whose gates and content depend on x_t only, or for a single step of any gated cell
    recurrence   runs a recurrent cell: in every step the product with h_{t-1} and the cell itself

Both take the products with x_t as input. Each backend provides the kernels for one device type
(`library.implement`). This file defines what the backends share: the signatures, the shapes for
tracing, and those parts of the gradients that are matrix products over all time steps.

Shapes: T time steps, B sequences, H hidden units, P features of h (P = H without a projection);
R rows of pre-activations, Q of which depend on h_{t-1}. The memory cell is float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..cells import LSTM, Cell, SimpleRNN
from ..cells.rows import split
from .library import LIBRARY, derive, no_second_derivatives
from .products import outer

# z: T x B x R*H; c_0: B x H; padding_mask: T x B, True at padding; cell: `encode`.
# -> y: T x B x H, c_n: B x H, cells: c_t, T x B x H (empty unless `save`)
LIBRARY.define(
    "gated_sum(Tensor z, Tensor c_0, Tensor? padding_mask, int cell, bool reverse, bool save)"
    " -> (Tensor, Tensor, Tensor)"
)
# -> dz, dc_0
LIBRARY.define(
    "gated_sum_backward(Tensor? dy, Tensor? dc_n, Tensor z, Tensor c_0, Tensor? padding_mask,"
    " Tensor cells, int cell, bool reverse) -> (Tensor, Tensor)"
)
# z: T x B x R*H; w_hh: Q*H x P; w_hr: P x H; h_0: B x P; c_0: B x H, None without gates
# -> y: T x B x P, h_n: B x P, c_n: B x H,
#    gates: the activated rows, T x B x R*H,
#    cells: c_t, T x B x H,
#    states: h_t, T x B x P, which differs from y at padding, where y is zero.
#    `gates`, `cells` and `states` are empty unless `save` is set. `c_n` and `cells` are empty
#    without a memory cell, `states` without padding, and `gates` if h_t has the same values (see
#    `saved`).
LIBRARY.define(
    "recurrence(Tensor z, Tensor w_hh, Tensor? w_hr, Tensor h_0, Tensor? c_0,"
    " Tensor? padding_mask, int cell, bool reverse, bool save)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
# -> dz, dh: the gradient of h_t, T x B x P (empty without a projection), dh_0, dc_0
LIBRARY.define(
    "recurrence_backward(Tensor? dy, Tensor? dh_n, Tensor? dc_n, Tensor w_hh, Tensor? w_hr,"
    " Tensor h_0, Tensor? c_0, Tensor? padding_mask, Tensor gates, Tensor cells, int cell,"
    " bool reverse) -> (Tensor, Tensor, Tensor, Tensor)"
)

NOT_TRANSFORMED = "it does not support torch.func or forward-mode derivatives"

SRNN, OUTPUT_GATE, RECURRENT_GATES, GATES, COUPLED = (1 << bit for bit in range(5))


def has_kernels(cell: Cell) -> bool:
    """Whether these operators support the cell."""
    return type(cell) in (LSTM, SimpleRNN)  # a subclass may have different equations


def encode(cell: Cell) -> int:
    """The parts of the cell as the bits that the operators take."""
    if not isinstance(cell, LSTM):
        return SRNN
    parts = {
        SRNN: cell.srnn,
        OUTPUT_GATE: cell.output_gate,
        RECURRENT_GATES: cell.recurrent_gates,
        COUPLED: cell.coupled_gates,
    }
    return GATES + sum(bit for bit, has in parts.items() if has)


def decode(bits: int) -> LSTM | SimpleRNN:
    """The cell that `encode` turned into `bits`, without its name."""
    if not bits & GATES:
        return SimpleRNN()
    return LSTM(
        name="",
        title="",
        srnn=bool(bits & SRNN),
        output_gate=bool(bits & OUTPUT_GATE),
        recurrent_gates=bool(bits & RECURRENT_GATES),
        coupled_gates=bool(bits & COUPLED),
    )


# Shapes for tracing; the kernels use the same functions to allocate their outputs


def gated_sum_outputs(z: Tensor, c_0: Tensor, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Uninitialised outputs of `gated_sum`."""
    time, (batch, units) = z.size(0), c_0.shape
    y = z.new_empty((time, batch, units))
    return y, c_0.new_empty(c_0.shape), c_0.new_empty((time, batch, units) if save else 0)


def gated_sum_gradients(z: Tensor, c_0: Tensor) -> tuple[Tensor, Tensor]:
    """Uninitialised outputs of `gated_sum_backward`, contiguous whatever the inputs are."""
    return z.new_empty(z.shape), c_0.new_empty(c_0.shape)


def recurrence_outputs(
    z: Tensor,
    w_hr: Tensor | None,
    h_0: Tensor,
    c_0: Tensor | None,
    padding_mask: Tensor | None,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Uninitialised outputs of `recurrence`."""
    time, (batch, features) = z.size(0), h_0.shape
    memory = z.new_empty(0, dtype=torch.float32) if c_0 is None else c_0
    return (
        z.new_empty((time, batch, features)),
        h_0.new_empty((batch, features)),
        memory.new_empty(memory.shape),
        z.new_empty(z.shape if save and not _h_is_all(w_hr, c_0) else 0),
        memory.new_empty((time, *memory.shape) if save and c_0 is not None else 0),
        z.new_empty((time, batch, features) if save and padding_mask is not None else 0),
    )


def _h_is_all(w_hr: Tensor | None, c_0: Tensor | None) -> bool:
    """Whether h_t is the only activated row, as in an S-RNN without a projection."""
    return c_0 is None and w_hr is None


def recurrence_gradients(
    gates: Tensor, w_hr: Tensor | None, h_0: Tensor, c_0: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Uninitialised outputs of `recurrence_backward`."""
    return (
        gates.new_empty(gates.shape),
        gates.new_empty(0 if w_hr is None else (gates.size(0), *h_0.shape)),
        h_0.new_empty(h_0.shape),
        gates.new_empty(0, dtype=torch.float32) if c_0 is None else c_0.new_empty(c_0.shape),
    )


def _fake_gated_sum(z, c_0, padding_mask, cell, reverse, save):  # type: ignore[no-untyped-def]
    return gated_sum_outputs(z, c_0, save)


def _fake_gated_sum_backward(  # type: ignore[no-untyped-def]
    dy, dc_n, z, c_0, padding_mask, cells, cell, reverse
):
    return gated_sum_gradients(z, c_0)


def _fake_recurrence(  # type: ignore[no-untyped-def]
    z, w_hh, w_hr, h_0, c_0, padding_mask, cell, reverse, save
):
    return recurrence_outputs(z, w_hr, h_0, c_0, padding_mask, save)


def _fake_recurrence_backward(  # type: ignore[no-untyped-def]
    dy, dh_n, dc_n, w_hh, w_hr, h_0, c_0, padding_mask, gates, cells, cell, reverse
):
    return recurrence_gradients(gates, w_hr, h_0, c_0)


# Gradients. If an operator was traced without gradients, it saved nothing for the backward pass,
# which then runs it again.


def _save_gated_sum(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
    z, c_0, padding_mask, ctx.cell, ctx.reverse, saved = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(z, c_0, padding_mask, output[2] if saved else None)


def _gated_sum_gradient(ctx: Any, dy: Tensor | None, dc_n: Tensor | None, _: None) -> Any:
    if torch.is_grad_enabled():
        _refuse()
    z, c_0, padding_mask, cells = ctx.saved_tensors
    rest = (ctx.cell, ctx.reverse)
    if cells is None:
        _, _, cells = torch.ops.fairseq_wsum.gated_sum(z, c_0, padding_mask, *rest, True)
    dz, dc_0 = torch.ops.fairseq_wsum.gated_sum_backward(
        dy, dc_n, z, c_0, padding_mask, cells, *rest
    )
    return dz, dc_0, None, None, None, None


def _save_recurrence(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
    z, w_hh, w_hr, h_0, c_0, padding_mask, ctx.cell, ctx.reverse, ctx.saved = inputs
    ctx.mark_non_differentiable(*output[3:])
    ctx.set_materialize_grads(False)
    rest = saved(output, w_hr, c_0, padding_mask) if ctx.saved else (z,)
    ctx.save_for_backward(w_hh, w_hr, h_0, c_0, padding_mask, *rest)


def saved(
    output: Sequence[Tensor], w_hr: Tensor | None, c_0: Tensor | None, padding_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs of `recurrence` that its gradient needs: gates, cells and h_t."""
    y, _, _, gates, cells, states = output
    h = y if padding_mask is None else states
    return h if _h_is_all(w_hr, c_0) else gates, cells, h


def _recurrence_gradient(
    ctx: Any, dy: Tensor | None, dh_n: Tensor | None, dc_n: Tensor | None, *_: None
) -> Any:
    if torch.is_grad_enabled():
        _refuse()
    # read it only once: torch.utils.checkpoint allows a single access to the saved tensors
    w_hh, w_hr, h_0, c_0, padding_mask, *kept = ctx.saved_tensors
    rest = (ctx.cell, ctx.reverse)
    if ctx.saved:
        gates, cells, h = kept
    else:
        inputs = (*kept, w_hh, w_hr, h_0, c_0, padding_mask)
        output = torch.ops.fairseq_wsum.recurrence(*inputs, *rest, True)
        gates, cells, h = saved(output, w_hr, c_0, padding_mask)
    dz, dh, dh_0, dc_0 = torch.ops.fairseq_wsum.recurrence_backward(
        *(dy, dh_n, dc_n, w_hh, w_hr, h_0, c_0, padding_mask, gates, cells), *rest
    )
    cell = decode(ctx.cell)
    dw_hh = dw_hr = None
    if ctx.needs_input_grad[1]:
        h_last = torch.cat((h[1:], h_0[None]) if ctx.reverse else (h_0[None], h[:-1]))
        dw_hh = _hidden_rows_gradient(cell, dz, h_last)
    if w_hr is not None and ctx.needs_input_grad[2]:
        dw_hr = outer(dh, _unprojected(cell, gates, cells))
    return dz, dw_hh, dw_hr, dh_0, None if c_0 is None else dc_0, None, None, None, None


def _hidden_rows_gradient(cell: Cell, dz: Tensor, h_last: Tensor) -> Tensor:
    """The gradient of W_*h: the sum over all steps of dz_t h_{t-1}^T, for the hidden rows."""
    units = dz.size(-1) // len(cell.rows)
    groups: list[list[int]] = []  # adjacent rows share one matrix product
    for row in cell.hidden_rows:
        place = cell.rows.index(row)
        if groups and groups[-1][1] == place:
            groups[-1][1] = place + 1
        else:
            groups.append([place, place + 1])
    if groups == [[0, len(cell.rows)]]:  # a full slice would not be contiguous under vmap
        return outer(dz, h_last)
    return torch.cat([outer(dz[..., a * units : b * units], h_last) for a, b in groups])


def _unprojected(cell: Cell, gates: Tensor, cells: Tensor) -> Tensor:
    """h_t before the projection, recomputed from the saved rows."""
    activated = split(cell.rows, gates)
    if not isinstance(cell, LSTM):
        return activated["c"]
    h = torch.tanh(cells).to(gates.dtype)
    return activated["o"] * h if cell.output_gate else h


_refuse = no_second_derivatives(
    "the reference backend: give the layer backend='reference' (--lstm-backend reference)"
)
derive("gated_sum", _fake_gated_sum, _gated_sum_gradient, _save_gated_sum)
derive("gated_sum_backward", _fake_gated_sum_backward, _refuse)
derive("recurrence", _fake_recurrence, _recurrence_gradient, _save_recurrence)
derive("recurrence_backward", _fake_recurrence_backward, _refuse)
