"""The two operations of a layer as custom operators of torch.

    memory_cell  computes c_t and h_t from complete pre-activations: for a cell without products
                 with h_{t-1}, or for a single step of any cell with a memory
    recurrence   runs a cell with a recurrent matrix: in every step the product with h_{t-1} and the
                 cell itself

Both take the products with x_t as input. A gated sum without kernels here runs on `scan`, the
memory cell of a cell whose pre-activations are the gates themselves. On GPUs the GRU and the SRU
have no kernels (`has_kernels`).

Each backend provides the kernels for one device type (`library.implement`). This file defines what
the backends share: the signatures, the shapes for tracing, and those parts of the gradients that
are matrix products over all time steps.

Shapes: T time steps, B sequences, H hidden units, P features of h (P = H without a projection).
`rows`, `hidden_rows` and `vectors` are those of the cell; `saved_rows` are the rows that
`recurrence` saves for its gradient. Vectors and the memory cell are float32.

An output that is not needed is left out: it is a tensor of shape (0,) (`left_out`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..cells import GRU, LSTM, QRNN, SRU, Cell, MinGRU, MinLSTM, SimpleRNN
from ..cells.rows import adjacent_hidden, split
from ..library import LIBRARY, derive, no_second_derivatives
from ..products import add_weight_gradient, weight_gradient, write_weight_gradient

# z: T x B x rows*H; v: float32, vectors x H, or None; c_0: B x H;
# padding_mask: T x B, True at padding; cell_id: see `encode`; u: T x B x H, of `Scan` only
# -> y: T x B x H, c_n: B x H, cells: c_t, T x B x H (left out unless `save` is set, and where y
#    has the same values)
LIBRARY.define(
    "memory_cell(Tensor z, Tensor? v, Tensor c_0, Tensor? padding_mask, int cell_id, bool reverse,"
    " bool save, Tensor? u=None) -> (Tensor, Tensor, Tensor)"
)
# -> dz, dv (left out without v), dc_0, du (left out without u)
LIBRARY.define(
    "memory_cell_backward(Tensor? dy, Tensor? dc_n, Tensor z, Tensor? v, Tensor c_0,"
    " Tensor? padding_mask, Tensor cells, int cell_id, bool reverse)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)
# z: T x B x rows*H; w_hh: hidden_rows*H x P; b_inner: the inner biases, hidden_rows*H, or None;
# w_hr: P x H; h_0: B x P; c_0: B x H, None without a memory cell, h_0 if h_t is the memory cell
# (`Cell.hidden_is_memory`)
# -> y: T x B x P, h_n: B x P, c_n: B x H,
#    saved: T x B x saved_rows*H, the activated rows or the complete pre-activations
#    (`saves_preactivations`),
#    cells: c_t, T x B x H,
#    states: h_t, T x B x P, which differs from y at padding, where y is zero.
#    `saved`, `cells` and `states` are left out unless `save` is set; `c_n` and `cells` without a
#    memory cell; `states` without padding; `saved` and `cells` if h_t has the same values (see
#    `kept_outputs`).
LIBRARY.define(
    "recurrence(Tensor z, Tensor w_hh, Tensor? b_inner, Tensor? w_hr, Tensor h_0, Tensor? c_0,"
    " Tensor? padding_mask, int cell_id, bool reverse, bool save)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)"
)
# -> dz, dh: the gradient of h_t, T x B x P (left out without a projection), dh_0, dc_0
LIBRARY.define(
    "recurrence_backward(Tensor? dy, Tensor? dh_n, Tensor? dc_n, Tensor w_hh, Tensor? w_hr,"
    " Tensor h_0, Tensor? c_0, Tensor? padding_mask, Tensor saved, Tensor cells, int cell_id,"
    " bool reverse) -> (Tensor, Tensor, Tensor, Tensor)"
)

NOT_TRANSFORMED = "it does not support torch.func or forward-mode derivatives"

SRNN, OUTPUT_GATE, RECURRENT_GATES, GATES, COUPLED = (1 << bit for bit in range(5))


class Scan(Cell):
    """c_t = f_t * c_{t-1} + u_t from f_t and u_t themselves: the cell of `scan`.

    u_t is a tensor of its own, so that no caller copies both into one. The output is c_t in
    float32, also at padding.
    """

    name = "scan"
    rows = ("f",)
    hidden_is_memory = True


_OTHERS = {kind: (n + 1) << 5 for n, kind in enumerate((GRU, MinGRU, MinLSTM, QRNN, SRU, Scan))}


def has_kernels(cell: Cell, device: str) -> bool:
    """Whether these operators support the cell on a type of device."""
    # a subclass may have different equations
    kinds = (LSTM, SimpleRNN, MinGRU, MinLSTM, QRNN)
    return type(cell) in kinds or (device == "cpu" and type(cell) in _OTHERS)


def encode(cell: Cell) -> int:
    """The id of the cell, for the operators: for the LSTM and its ablations, their parts."""
    if type(cell) in _OTHERS:
        return _OTHERS[type(cell)]
    if not isinstance(cell, LSTM):
        assert type(cell) is SimpleRNN, "a cell without kernels has no id: `has_kernels`"
        return SRNN
    parts = {
        SRNN: cell.srnn,
        OUTPUT_GATE: cell.output_gate,
        RECURRENT_GATES: cell.recurrent_gates,
        COUPLED: cell.coupled_gates,
    }
    return GATES + sum(bit for bit, has in parts.items() if has)


@cache
def decode(cell_id: int) -> Cell:
    """The cell of this id, without its name."""
    for kind, its_id in _OTHERS.items():
        if cell_id == its_id:
            return kind()
    if cell_id == SRNN:
        return SimpleRNN()
    assert cell_id & GATES and not cell_id >> 5, f"no cell has the id {cell_id}"
    return LSTM(
        name="",
        title="",
        srnn=bool(cell_id & SRNN),
        output_gate=bool(cell_id & OUTPUT_GATE),
        recurrent_gates=bool(cell_id & RECURRENT_GATES),
        coupled_gates=bool(cell_id & COUPLED),
    )


def saved_rows(cell: Cell) -> tuple[str, ...]:
    """The rows of `saved`: those of z and, for each inner bias, W_*h h_{t-1} + b_*h of its row."""
    return (*cell.rows, *(row + "_h" for row in cell.inner_bias_rows))


def saves_preactivations(cell: Cell, dtype: torch.dtype) -> bool:
    """Whether `saved` has pre-activations, not activated rows.

    In 16 bits a gate near 1 would be rounded to 1, and its gradient would be lost.
    """
    return cell.has_memory and dtype != torch.float32


# Shapes for tracing; the kernels use the same functions to allocate their outputs


def memory_cell_outputs(
    z: Tensor, c_0: Tensor, padding_mask: Tensor | None, cell_id: int, save: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Uninitialised outputs of `memory_cell`."""
    time, (batch, units) = z.size(0), c_0.shape
    is_scan = type(decode(cell_id)) is Scan
    y = (c_0 if is_scan else z).new_empty((time, batch, units))
    save = save and not (is_scan or (_h_is_memory(cell_id, z) and padding_mask is None))
    return y, c_0.new_empty(c_0.shape), c_0.new_empty((time, batch, units) if save else 0)


def _h_is_memory(cell_id: int, z: Tensor) -> bool:
    """Whether h_t and c_t are the same numbers."""
    return decode(cell_id).hidden_is_memory and z.dtype == torch.float32


def memory_cell_gradients(
    z: Tensor, v: Tensor | None, c_0: Tensor, cell_id: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Uninitialised outputs of `memory_cell_backward`, contiguous whatever the inputs are."""
    dv = c_0.new_empty(0 if v is None else v.shape)
    du = z.new_empty(z.shape if type(decode(cell_id)) is Scan else 0)
    return z.new_empty(z.shape), dv, c_0.new_empty(c_0.shape), du


def recurrence_outputs(
    z: Tensor,
    w_hr: Tensor | None,
    h_0: Tensor,
    c_0: Tensor | None,
    padding_mask: Tensor | None,
    cell_id: int,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Uninitialised outputs of `recurrence`."""
    time, (batch, features) = z.size(0), h_0.shape
    memory = z.new_empty(0, dtype=torch.float32) if c_0 is None else c_0
    cell = decode(cell_id)
    width = z.size(2) // len(cell.rows) * len(saved_rows(cell))
    return (
        z.new_empty((time, batch, features)),
        h_0.new_empty((batch, features)),
        memory.new_empty(memory.shape),
        z.new_empty((time, batch, width) if save and not _h_is_all(w_hr, c_0) else 0),
        memory.new_empty(
            (time, *memory.shape)
            if save and c_0 is not None and not _h_is_memory(cell_id, z)
            else 0
        ),
        z.new_empty((time, batch, features) if save and padding_mask is not None else 0),
    )


def _h_is_all(w_hr: Tensor | None, c_0: Tensor | None) -> bool:
    """Whether h_t is the only activated row, as in an S-RNN without a projection."""
    return c_0 is None and w_hr is None


def recurrence_gradients(
    saved: Tensor, w_hr: Tensor | None, h_0: Tensor, c_0: Tensor | None, cell_id: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Uninitialised outputs of `recurrence_backward`."""
    cell = decode(cell_id)
    width = saved.size(2) // len(saved_rows(cell)) * len(cell.rows)
    return (
        saved.new_empty((*saved.shape[:2], width)),
        saved.new_empty(0 if w_hr is None else (saved.size(0), *h_0.shape)),
        h_0.new_empty(h_0.shape),
        saved.new_empty(0, dtype=torch.float32) if c_0 is None else c_0.new_empty(c_0.shape),
    )


def _fake_memory_cell(  # type: ignore[no-untyped-def]
    z, v, c_0, padding_mask, cell_id, reverse, save, u=None
):
    return memory_cell_outputs(z, c_0, padding_mask, cell_id, save)


def _fake_memory_cell_backward(  # type: ignore[no-untyped-def]
    dy, dc_n, z, v, c_0, padding_mask, cells, cell_id, reverse
):
    return memory_cell_gradients(z, v, c_0, cell_id)


def _fake_recurrence(  # type: ignore[no-untyped-def]
    z, w_hh, b_inner, w_hr, h_0, c_0, padding_mask, cell_id, reverse, save
):
    return recurrence_outputs(z, w_hr, h_0, c_0, padding_mask, cell_id, save)


def _fake_recurrence_backward(  # type: ignore[no-untyped-def]
    dy, dh_n, dc_n, w_hh, w_hr, h_0, c_0, padding_mask, saved, cells, cell_id, reverse
):
    return recurrence_gradients(saved, w_hr, h_0, c_0, cell_id)


# Gradients. If an operator was traced without gradients, it saved nothing for the backward pass,
# which then runs it again.


def _save_memory_cell(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
    z, v, c_0, padding_mask, ctx.cell_id, ctx.reverse, save, u = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)
    y, _, cells = output
    kept = (or_equal(cells, y), None) if save else (None, u)
    ctx.save_for_backward(z, v, c_0, padding_mask, *kept)


def _memory_cell_gradient(ctx: Any, dy: Tensor | None, dc_n: Tensor | None, _: None) -> Any:
    if torch.is_grad_enabled():
        _refuse()
    z, v, c_0, padding_mask, cells, u = ctx.saved_tensors
    rest = (ctx.cell_id, ctx.reverse)
    if cells is None:
        y, _, cells = torch.ops.fairseq_wsum.memory_cell(z, v, c_0, padding_mask, *rest, True, u)
        cells = or_equal(cells, y)
    dz, dv, dc_0, du = torch.ops.fairseq_wsum.memory_cell_backward(
        dy, dc_n, z, v, c_0, padding_mask, cells, *rest
    )
    dv, du = (None if left_out(gradient) else gradient for gradient in (dv, du))
    return dz, dv, dc_0, None, None, None, None, du


def _save_recurrence(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
    z, w_hh, b_inner, w_hr, h_0, c_0, padding_mask, ctx.cell_id, ctx.reverse, ctx.saved = inputs
    ctx.mark_non_differentiable(*output[3:])
    ctx.set_materialize_grads(False)
    rest = kept_outputs(output, w_hr, c_0, padding_mask) if ctx.saved else (z,)
    ctx.save_for_backward(w_hh, b_inner, w_hr, h_0, c_0, padding_mask, *rest)


def kept_outputs(
    output: Sequence[Tensor], w_hr: Tensor | None, c_0: Tensor | None, padding_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs of `recurrence` that its gradient needs: saved, cells and h_t."""
    y, _, _, saved, cells, states = output
    h = y if padding_mask is None else states
    if c_0 is not None:
        cells = or_equal(cells, h)
    return h if _h_is_all(w_hr, c_0) else saved, cells, h


def left_out(output: Tensor) -> bool:
    """Whether an output of an operator, which has two dimensions or more, was not needed."""
    return output.dim() == 1


def or_equal(output: Tensor, equal: Tensor) -> Tensor:
    """The output or, if it was left out, the tensor that has the same values."""
    return equal if left_out(output) else output


def _recurrence_gradient(
    ctx: Any, dy: Tensor | None, dh_n: Tensor | None, dc_n: Tensor | None, *_: None
) -> Any:
    if torch.is_grad_enabled():
        _refuse()
    # read it only once: torch.utils.checkpoint allows a single access to the saved tensors
    w_hh, b_inner, w_hr, h_0, c_0, padding_mask, *kept = ctx.saved_tensors
    rest = (ctx.cell_id, ctx.reverse)
    if ctx.saved:
        saved, cells, h = kept
    else:
        inputs = (*kept, w_hh, b_inner, w_hr, h_0, c_0, padding_mask)
        output = torch.ops.fairseq_wsum.recurrence(*inputs, *rest, True)
        saved, cells, h = kept_outputs(output, w_hr, c_0, padding_mask)
    dz, dh, dh_0, dc_0 = torch.ops.fairseq_wsum.recurrence_backward(
        *(dy, dh_n, dc_n, w_hh, w_hr, h_0, c_0, padding_mask, saved, cells), *rest
    )
    cell = decode(ctx.cell_id)
    dw_hh = db_inner = dw_hr = None
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
        dw_hh = dz.new_empty(w_hh.shape)
        sums: list[Tensor] = []
        begin = 0
        for dz_h in _hidden_gradients(cell, dz, saved):
            end = begin + dz_h.size(-1)
            _sum_of_products(dw_hh[begin:end], dz_h, h, h_0, ctx.reverse)
            if b_inner is not None:
                sums.append(dz_h.sum((0, 1)))
            begin = end
        db_inner = torch.cat(sums) if sums else None
    if w_hr is not None and ctx.needs_input_grad[3]:
        dw_hr = weight_gradient(dh, _unprojected(cell, saved, cells))
    dc_0 = None if c_0 is None else dc_0
    return dz, dw_hh, db_inner, dw_hr, dh_0, dc_0, None, None, None, None


def _hidden_gradients(cell: Cell, dz: Tensor, saved: Tensor) -> Iterator[Tensor]:
    """The gradients of W_*h h_{t-1} + b_*h, in blocks of adjacent hidden rows.

    T x B x rows*H and T x B x saved_rows*H -> T x B x ...*H
    """
    units = dz.size(-1) // len(cell.rows)
    if isinstance(cell, GRU):  # n_t = tanh(z_n + r_t * (W_nh h_{t-1} + b_nh))
        yield dz[..., : 2 * units]
        yield dz[..., 2 * units :] * _activated_gate(cell, saved[..., :units])
        return
    assert not cell.inner_bias_rows
    for a, b in adjacent_hidden(cell):
        # a full slice would not be contiguous under vmap
        yield dz if b - a == len(cell.rows) else dz[..., a * units : b * units]


def _sum_of_products(out: Tensor, dz: Tensor, h: Tensor, h_0: Tensor, reverse: bool) -> None:
    """Write the sum over all steps of dz_t h_{t-1}^T to `out`.

    The first step is added separately, so that no tensor of all h_{t-1} is needed.
    """
    first, later, before = (dz[-1], dz[:-1], h[1:]) if reverse else (dz[0], dz[1:], h[:-1])
    write_weight_gradient(out, later, before)
    add_weight_gradient(out, first, h_0)


def _unprojected(cell: Cell, saved: Tensor, cells: Tensor) -> Tensor:
    """h_t before the projection, recomputed from the saved rows."""
    row = split(cell.rows, saved)
    if isinstance(cell, SimpleRNN):
        return row["c"]
    assert isinstance(cell, LSTM)
    h = torch.tanh(cells).to(saved.dtype)
    return _activated_gate(cell, row["o"]) * h if cell.output_gate else h


def _activated_gate(cell: Cell, row: Tensor) -> Tensor:
    """A gate, from its row of `saved`."""
    return torch.sigmoid(row) if saves_preactivations(cell, row.dtype) else row


_refuse = no_second_derivatives(
    "`scan_reference`, or in a layer backend='reference' (--lstm-backend reference)"
)
derive("memory_cell", _fake_memory_cell, _memory_cell_gradient, _save_memory_cell)
derive("memory_cell_backward", _fake_memory_cell_backward, _refuse)
derive("recurrence", _fake_recurrence, _recurrence_gradient, _save_recurrence)
derive("recurrence_backward", _fake_recurrence_backward, _refuse)
