"""The two operations of a layer as custom operators of torch.

    gated_sum    computes the memory cell and the output from complete pre-activations: for a cell
                 without products with h_{t-1}, or for a single step of any cell with a memory
    recurrence   runs a recurrent cell: in every step the product with h_{t-1} and the cell itself

Both take the products with x_t as input. A gated sum without kernels here runs on `scan`. On CPUs
all gated sums of this package have kernels: with them a layer is 1.1 to 1.9 times as fast as on
`scan` and takes 0.6 to 0.9 times the memory (docs/benchmarks.md, "The relatives"; Intel Xeon with
AMX, fp32, 2026-11-22). On GPUs only the LSTM's ablations have kernels (`has_kernels`).

Each backend provides the kernels for one device type (`library.implement`). This file defines what
the backends share: the signatures, the shapes for tracing, and those parts of the gradients that
are matrix products over all time steps.

Shapes: T time steps, B sequences, H hidden units, P features of h (P = H without a projection);
R rows of pre-activations, Q of which depend on h_{t-1}; S rows that the gradient of a recurrent
cell needs; V vectors (`Cell.vectors`). Vectors and the memory cell are float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..cells import GRU, LSTM, QRNN, SRU, Cell, MinGRU, MinLSTM, SimpleRNN
from ..cells.rows import adjacent_hidden, split
from .library import LIBRARY, derive, no_second_derivatives
from .products import add_outer_to, outer, outer_to

# z: T x B x R*H; v: float32, V x H, or None; c_0: B x H; padding_mask: T x B, True at padding;
# code: that of the cell (`encode`)
# -> y: T x B x H, c_n: B x H, cells: c_t, T x B x H (empty unless `save`, and where y has the
#    same values)
LIBRARY.define(
    "gated_sum(Tensor z, Tensor? v, Tensor c_0, Tensor? padding_mask, int code, bool reverse,"
    " bool save) -> (Tensor, Tensor, Tensor)"
)
# -> dz, dv (empty without v), dc_0
LIBRARY.define(
    "gated_sum_backward(Tensor? dy, Tensor? dc_n, Tensor z, Tensor? v, Tensor c_0,"
    " Tensor? padding_mask, Tensor cells, int code, bool reverse) -> (Tensor, Tensor, Tensor)"
)
# z: T x B x R*H; w_hh: Q*H x P; b_hh: the inner biases, Q*H, or None; w_hr: P x H; h_0: B x P;
# c_0: B x H, None without a memory cell; h_0 if h_t is the memory cell (`Cell.hidden_is_memory`)
# -> y: T x B x P, h_n: B x P, c_n: B x H,
#    rows: T x B x S*H, the activated rows; in 16 bits, for a cell with a memory, the complete
#    pre-activations, as a gate near 1 would be rounded to 1,
#    cells: c_t, T x B x H,
#    states: h_t, T x B x P, which differs from y at padding, where y is zero.
#    `rows`, `cells` and `states` are empty unless `save` is set. `c_n` and `cells` are empty
#    without a memory cell, `states` without padding, and `rows` and `cells` if h_t has the same
#    values (see `kept_outputs`).
LIBRARY.define(
    "recurrence(Tensor z, Tensor w_hh, Tensor? b_hh, Tensor? w_hr, Tensor h_0, Tensor? c_0,"
    " Tensor? padding_mask, int code, bool reverse, bool save)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
# -> dz, dh: the gradient of h_t, T x B x P (empty without a projection), dh_0, dc_0
LIBRARY.define(
    "recurrence_backward(Tensor? dy, Tensor? dh_n, Tensor? dc_n, Tensor w_hh, Tensor? w_hr,"
    " Tensor h_0, Tensor? c_0, Tensor? padding_mask, Tensor rows, Tensor cells, int code,"
    " bool reverse) -> (Tensor, Tensor, Tensor, Tensor)"
)

NOT_TRANSFORMED = "it does not support torch.func or forward-mode derivatives"

SRNN, OUTPUT_GATE, RECURRENT_GATES, GATES, COUPLED = (1 << bit for bit in range(5))
_RELATIVES = {kind: (n + 1) << 5 for n, kind in enumerate((GRU, MinGRU, MinLSTM, QRNN, SRU))}


def has_kernels(cell: Cell, device: str) -> bool:
    """Whether these operators support the cell on a type of device."""
    # a subclass may have different equations
    if type(cell) in _RELATIVES:
        return device == "cpu"
    return type(cell) in (LSTM, SimpleRNN)


def encode(cell: Cell) -> int:
    """The code of the cell, for the operators: for the LSTM and its ablations, their parts."""
    if type(cell) in _RELATIVES:
        return _RELATIVES[type(cell)]
    assert type(cell) in (LSTM, SimpleRNN), "a cell without kernels has no code: `has_kernels`"
    if not isinstance(cell, LSTM):
        return SRNN
    parts = {
        SRNN: cell.srnn,
        OUTPUT_GATE: cell.output_gate,
        RECURRENT_GATES: cell.recurrent_gates,
        COUPLED: cell.coupled_gates,
    }
    return GATES + sum(bit for bit, has in parts.items() if has)


@cache
def decode(code: int) -> Cell:
    """The cell of this code, without its name."""
    for kind, its_code in _RELATIVES.items():
        if code == its_code:
            return kind()
    if code == SRNN:
        return SimpleRNN()
    if code >> 5 or not code & GATES:
        raise ValueError(f"no cell has the code {code}")
    return LSTM(
        name="",
        title="",
        srnn=bool(code & SRNN),
        output_gate=bool(code & OUTPUT_GATE),
        recurrent_gates=bool(code & RECURRENT_GATES),
        coupled_gates=bool(code & COUPLED),
    )


def saved_rows(cell: Cell) -> tuple[str, ...]:
    """The rows that the gradient of a recurrent cell needs.

    They are those of z and, for each inner bias, W_*h h_{t-1} + b_*h of its row.
    """
    return (*cell.rows, *(row + "_h" for row in cell.inner_bias_rows))


# Shapes for tracing; the kernels use the same functions to allocate their outputs


def gated_sum_outputs(
    z: Tensor, c_0: Tensor, padding_mask: Tensor | None, code: int, save: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Uninitialised outputs of `gated_sum`."""
    time, (batch, units) = z.size(0), c_0.shape
    y = z.new_empty((time, batch, units))
    save = save and not (_h_is_memory(code, z) and padding_mask is None)
    return y, c_0.new_empty(c_0.shape), c_0.new_empty((time, batch, units) if save else 0)


def _h_is_memory(code: int, z: Tensor) -> bool:
    """Whether h_t and c_t are the same numbers."""
    return decode(code).hidden_is_memory and z.dtype == torch.float32


def gated_sum_gradients(z: Tensor, v: Tensor | None, c_0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Uninitialised outputs of `gated_sum_backward`, contiguous whatever the inputs are."""
    dv = c_0.new_empty(0 if v is None else v.shape)
    return z.new_empty(z.shape), dv, c_0.new_empty(c_0.shape)


def recurrence_outputs(
    z: Tensor,
    w_hr: Tensor | None,
    h_0: Tensor,
    c_0: Tensor | None,
    padding_mask: Tensor | None,
    code: int,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Uninitialised outputs of `recurrence`."""
    time, (batch, features) = z.size(0), h_0.shape
    memory = z.new_empty(0, dtype=torch.float32) if c_0 is None else c_0
    cell = decode(code)
    width = z.size(2) // len(cell.rows) * len(saved_rows(cell))
    return (
        z.new_empty((time, batch, features)),
        h_0.new_empty((batch, features)),
        memory.new_empty(memory.shape),
        z.new_empty((time, batch, width) if save and not _h_is_all(w_hr, c_0) else 0),
        memory.new_empty(
            (time, *memory.shape) if save and c_0 is not None and not _h_is_memory(code, z) else 0
        ),
        z.new_empty((time, batch, features) if save and padding_mask is not None else 0),
    )


def _h_is_all(w_hr: Tensor | None, c_0: Tensor | None) -> bool:
    """Whether h_t is the only activated row, as in an S-RNN without a projection."""
    return c_0 is None and w_hr is None


def recurrence_gradients(
    rows: Tensor, w_hr: Tensor | None, h_0: Tensor, c_0: Tensor | None, code: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Uninitialised outputs of `recurrence_backward`."""
    cell = decode(code)
    width = rows.size(2) // len(saved_rows(cell)) * len(cell.rows)
    return (
        rows.new_empty((*rows.shape[:2], width)),
        rows.new_empty(0 if w_hr is None else (rows.size(0), *h_0.shape)),
        h_0.new_empty(h_0.shape),
        rows.new_empty(0, dtype=torch.float32) if c_0 is None else c_0.new_empty(c_0.shape),
    )


def _fake_gated_sum(z, v, c_0, padding_mask, code, reverse, save):  # type: ignore[no-untyped-def]
    return gated_sum_outputs(z, c_0, padding_mask, code, save)


def _fake_gated_sum_backward(  # type: ignore[no-untyped-def]
    dy, dc_n, z, v, c_0, padding_mask, cells, code, reverse
):
    return gated_sum_gradients(z, v, c_0)


def _fake_recurrence(  # type: ignore[no-untyped-def]
    z, w_hh, b_hh, w_hr, h_0, c_0, padding_mask, code, reverse, save
):
    return recurrence_outputs(z, w_hr, h_0, c_0, padding_mask, code, save)


def _fake_recurrence_backward(  # type: ignore[no-untyped-def]
    dy, dh_n, dc_n, w_hh, w_hr, h_0, c_0, padding_mask, rows, cells, code, reverse
):
    return recurrence_gradients(rows, w_hr, h_0, c_0, code)


# Gradients. If an operator was traced without gradients, it saved nothing for the backward pass,
# which then runs it again.


def _save_gated_sum(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
    z, v, c_0, padding_mask, ctx.code, ctx.reverse, save = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)
    y, _, cells = output
    ctx.save_for_backward(z, v, c_0, padding_mask, or_else(cells, y) if save else None)


def _gated_sum_gradient(ctx: Any, dy: Tensor | None, dc_n: Tensor | None, _: None) -> Any:
    if torch.is_grad_enabled():
        _refuse()
    z, v, c_0, padding_mask, cells = ctx.saved_tensors
    rest = (ctx.code, ctx.reverse)
    if cells is None:
        y, _, cells = torch.ops.fairseq_wsum.gated_sum(z, v, c_0, padding_mask, *rest, True)
        cells = or_else(cells, y)
    dz, dv, dc_0 = torch.ops.fairseq_wsum.gated_sum_backward(
        dy, dc_n, z, v, c_0, padding_mask, cells, *rest
    )
    return dz, None if v is None else dv, dc_0, None, None, None, None


def _save_recurrence(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
    z, w_hh, b_hh, w_hr, h_0, c_0, padding_mask, ctx.code, ctx.reverse, ctx.saved = inputs
    ctx.mark_non_differentiable(*output[3:])
    ctx.set_materialize_grads(False)
    rest = kept_outputs(output, w_hr, c_0, padding_mask) if ctx.saved else (z,)
    ctx.save_for_backward(w_hh, b_hh, w_hr, h_0, c_0, padding_mask, *rest)


def kept_outputs(
    output: Sequence[Tensor], w_hr: Tensor | None, c_0: Tensor | None, padding_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs of `recurrence` that its gradient needs: rows, cells and h_t."""
    y, _, _, rows, cells, states = output
    h = y if padding_mask is None else states
    if c_0 is not None:
        cells = or_else(cells, h)
    return h if _h_is_all(w_hr, c_0) else rows, cells, h


def or_else(tensor: Tensor, other: Tensor) -> Tensor:
    """The first tensor or, if the operator left it out, the other one."""
    return tensor if tensor.dim() == other.dim() else other


def _recurrence_gradient(
    ctx: Any, dy: Tensor | None, dh_n: Tensor | None, dc_n: Tensor | None, *_: None
) -> Any:
    if torch.is_grad_enabled():
        _refuse()
    # read it only once: torch.utils.checkpoint allows a single access to the saved tensors
    w_hh, b_hh, w_hr, h_0, c_0, padding_mask, *kept = ctx.saved_tensors
    rest = (ctx.code, ctx.reverse)
    if ctx.saved:
        rows, cells, h = kept
    else:
        inputs = (*kept, w_hh, b_hh, w_hr, h_0, c_0, padding_mask)
        output = torch.ops.fairseq_wsum.recurrence(*inputs, *rest, True)
        rows, cells, h = kept_outputs(output, w_hr, c_0, padding_mask)
    dz, dh, dh_0, dc_0 = torch.ops.fairseq_wsum.recurrence_backward(
        *(dy, dh_n, dc_n, w_hh, w_hr, h_0, c_0, padding_mask, rows, cells), *rest
    )
    cell = decode(ctx.code)
    dw_hh = db_hh = dw_hr = None
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
        dw_hh = dz.new_empty(w_hh.shape)
        sums: list[Tensor] = []
        end = len(w_hh)
        for dz_h in _hidden_gradients_backwards(cell, dz, rows):
            begin = end - dz_h.size(-1)
            _sum_of_products(dw_hh[begin:end], dz_h, h, h_0, ctx.reverse)
            if b_hh is not None:
                sums.insert(0, dz_h.sum((0, 1)))
            end = begin
            del dz_h  # as it may be a tensor of its own, which is large
        db_hh = torch.cat(sums) if sums else None
    if w_hr is not None and ctx.needs_input_grad[3]:
        dw_hr = outer(dh, _unprojected(cell, rows, cells))
    dc_0 = None if c_0 is None else dc_0
    return dz, dw_hh, db_hh, dw_hr, dh_0, dc_0, None, None, None, None


def _hidden_gradients_backwards(cell: Cell, dz: Tensor, rows: Tensor) -> Iterator[Tensor]:
    """The gradients of W_*h h_{t-1} + b_*h, in blocks of adjacent hidden rows, the last first.

    T x B x R*H and T x B x S*H -> T x B x ...*H
    """
    units = dz.size(-1) // len(cell.rows)
    if isinstance(cell, GRU):  # n_t = tanh(z_n + r_t * (W_nh h_{t-1} + b_nh))
        yield dz[..., 2 * units :] * _gate(rows[..., :units])
        yield dz[..., : 2 * units]
        return
    assert not cell.inner_bias_rows
    for a, b in reversed(adjacent_hidden(cell)):
        # a full slice would not be contiguous under vmap
        yield dz if b - a == len(cell.rows) else dz[..., a * units : b * units]


def _sum_of_products(out: Tensor, dz: Tensor, h: Tensor, h_0: Tensor, reverse: bool) -> None:
    """Write the sum over all steps of dz_t h_{t-1}^T to `out`.

    The first step is added separately, so that no tensor of all h_{t-1} is needed.
    """
    first, later, before = (dz[-1], dz[:-1], h[1:]) if reverse else (dz[0], dz[1:], h[:-1])
    outer_to(out, later, before)
    add_outer_to(out, first, h_0)


def _unprojected(cell: Cell, rows: Tensor, cells: Tensor) -> Tensor:
    """h_t before the projection, recomputed from the saved rows."""
    row = split(cell.rows, rows)
    if isinstance(cell, SimpleRNN):
        return row["c"]
    assert isinstance(cell, LSTM)
    h = torch.tanh(cells).to(rows.dtype)
    return _gate(row["o"]) * h if cell.output_gate else h


def _gate(row: Tensor) -> Tensor:
    """A gate from the saved row of a cell with a memory."""
    return row if row.dtype == torch.float32 else torch.sigmoid(row)


_refuse = no_second_derivatives(
    "the reference backend: give the layer backend='reference' (--lstm-backend reference)"
)
derive("gated_sum", _fake_gated_sum, _gated_sum_gradient, _save_gated_sum)
derive("gated_sum_backward", _fake_gated_sum_backward, _refuse)
derive("recurrence", _fake_recurrence, _recurrence_gradient, _save_recurrence)
derive("recurrence_backward", _fake_recurrence_backward, _refuse)
