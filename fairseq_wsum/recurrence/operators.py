"""The two operations of a layer as custom operators of torch.

    memory_cell  computes c_t and h_t from complete pre-activations: for a cell without products
                 with h_{t-1}, or for a single step of any cell with a memory
    recurrence   runs a cell with a recurrent matrix: in every step the product with h_{t-1} and the
                 cell itself

Both take the products with x_t as input. A gated sum without kernels here runs on `scan`, the
memory cell of a cell whose pre-activations are the gates themselves. On GPUs the GRU and the SRU
have no kernels (`has_kernels`).

Each backend provides the kernels for a type of device (`implement`): a function that takes all
tensors of a call, a `Problem`, and writes to its outputs. This file defines what the backends
share: the signatures, the outputs, which tracing needs too, and those parts of the gradients that
are matrix products over all time steps.

Shapes: T time steps, B sequences, H hidden units, P features of h (P = H without a projection).
`rows`, `hidden_rows` and `vectors` are those of the cell; `saved_rows` are the rows that
`recurrence` saves for its gradient. Vectors and the memory cell are float32.

An output that is not needed is left out: it is a tensor of shape (0,) (`left_out`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..cells import GRU, LSTM, Cell, SimpleRNN
from ..cells.rows import adjacent_hidden, split
from ..kernels import LIBRARY, derive, no_second_derivatives
from ..products import weight_gradient
from .problem import Problem, Scan, decode, saved_rows, saves_preactivations

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

# The operators. `launch` runs the kernels of a device; tracing takes one that does nothing.

Launch = Callable[[Problem], None]


def memory_cell(
    launch: Launch,
    z: Tensor,
    v: Tensor | None,
    c_0: Tensor,
    padding_mask: Tensor | None,
    cell_id: int,
    reverse: bool,
    save: bool,
    u: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    time, (batch, units), is_scan = z.size(0), c_0.shape, type(decode(cell_id)) is Scan
    y = (c_0 if is_scan else z).new_empty((time, batch, units))
    save = save and not (is_scan or (_h_is_memory(cell_id, z) and padding_mask is None))
    c_n = c_0.new_empty(c_0.shape)
    cells = c_0.new_empty((time, batch, units) if save else 0)
    tensors = dict(padding=padding_mask, z=z, u=u, v=v, c_0=c_0, y=y, c_n=c_n, cells=_none(cells))
    sizes = dict(T=time, B=batch, H=units)
    launch(Problem("memory_cell", cell_id, reverse, False, sizes, tensors))
    return y, c_n, cells


def memory_cell_backward(
    launch: Launch,
    dy: Tensor | None,
    dc_n: Tensor | None,
    z: Tensor,
    v: Tensor | None,
    c_0: Tensor,
    padding_mask: Tensor | None,
    cells: Tensor,
    cell_id: int,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    time, (batch, units) = z.size(0), c_0.shape
    # contiguous, whatever the inputs are
    dz, dc_0 = z.new_empty(z.shape), c_0.new_empty(c_0.shape)
    du = z.new_empty(z.shape if type(decode(cell_id)) is Scan else 0)
    parts = None if v is None else c_0.new_empty((batch, *v.shape))  # the sum over B is dv
    tensors = dict(padding=padding_mask, z=z, v=v, c_0=c_0, cells=cells, dy=dy, dc_n=dc_n)
    tensors.update(dz=dz, du=_none(du), dv=parts, dc_0=dc_0)
    sizes = dict(T=time, B=batch, H=units)
    launch(Problem("memory_cell", cell_id, reverse, True, sizes, tensors))
    return dz, c_0.new_empty(0) if parts is None else parts.sum(0), dc_0, du


def recurrence(
    launch: Launch,
    z: Tensor,
    w_hh: Tensor,
    b_inner: Tensor | None,
    w_hr: Tensor | None,
    h_0: Tensor,
    c_0: Tensor | None,
    padding_mask: Tensor | None,
    cell_id: int,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    cell, time, sizes = decode(cell_id), z.size(0), _recurrence_sizes(z, w_hr, h_0)
    width = z.size(2) // len(cell.rows) * len(saved_rows(cell))
    memory = z.new_empty(0, dtype=torch.float32) if c_0 is None else c_0
    keeps_cells = save and c_0 is not None and not _h_is_memory(cell_id, z)
    outputs = dict(
        y=z.new_empty((time, *h_0.shape)),
        h_n=h_0.new_empty(h_0.shape),
        c_n=memory.new_empty(memory.shape),
        saved=z.new_empty((*z.shape[:2], width) if save and not _h_is_all(w_hr, c_0) else 0),
        cells=memory.new_empty((time, *memory.shape) if keeps_cells else 0),
        states=z.new_empty((time, *h_0.shape) if save and padding_mask is not None else 0),
    )
    tensors = dict(padding=padding_mask, z=z, w_hh=w_hh, b_inner=b_inner, w_hr=w_hr)
    tensors.update(h_0=h_0, c_0=c_0, **{name: _none(t) for name, t in outputs.items()})
    launch(Problem("recurrence", cell_id, reverse, False, sizes, tensors))
    y, h_n, c_n, saved, cells, states = outputs.values()
    return y, h_n, c_n, saved, cells, states


def recurrence_backward(
    launch: Launch,
    dy: Tensor | None,
    dh_n: Tensor | None,
    dc_n: Tensor | None,
    w_hh: Tensor,
    w_hr: Tensor | None,
    h_0: Tensor,
    c_0: Tensor | None,
    padding_mask: Tensor | None,
    saved: Tensor,
    cells: Tensor,
    cell_id: int,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    cell, time, sizes = decode(cell_id), saved.size(0), _recurrence_sizes(saved, w_hr, h_0)
    width = saved.size(2) // len(saved_rows(cell)) * len(cell.rows)
    dz = saved.new_empty((*saved.shape[:2], width))
    dh = saved.new_empty(0 if w_hr is None else (time, *h_0.shape))
    dh_0 = h_0.new_empty(h_0.shape)
    dc_0 = saved.new_empty(0, dtype=torch.float32) if c_0 is None else c_0.new_empty(c_0.shape)
    tensors = dict(padding=padding_mask, w_hh=w_hh, w_hr=w_hr, h_0=h_0, c_0=c_0, saved=saved)
    tensors.update(dy=dy, dh_n=dh_n, dz=dz, dh=_none(dh), dh_0=dh_0, dc_0=_none(dc_0))
    if c_0 is not None:
        tensors.update(cells=cells, dc_n=dc_n)
    launch(Problem("recurrence", cell_id, reverse, True, sizes, tensors))
    return dz, dh, dh_0, dc_0


def implement(device: str, launch: Launch) -> None:
    """Register the kernels for a type of device that has none."""
    for operator in (memory_cell, memory_cell_backward, recurrence, recurrence_backward):
        LIBRARY.impl(operator.__name__, partial(operator, launch), device)


def _recurrence_sizes(z: Tensor, w_hr: Tensor | None, h_0: Tensor) -> dict[str, int]:
    (time, _, _), (batch, features) = z.shape, h_0.shape
    return dict(T=time, B=batch, H=features if w_hr is None else w_hr.size(1), P=features)


def _h_is_memory(cell_id: int, z: Tensor) -> bool:
    """Whether h_t and c_t are the same numbers."""
    return decode(cell_id).hidden_is_memory and z.dtype == torch.float32


def _h_is_all(w_hr: Tensor | None, c_0: Tensor | None) -> bool:
    """Whether h_t is the only activated row, as in an S-RNN without a projection."""
    return c_0 is None and w_hr is None


def left_out(output: Tensor) -> bool:
    """Whether an output of an operator, which has two dimensions or more, was not needed."""
    return output.dim() == 1


def _none(output: Tensor) -> Tensor | None:
    """The output, or None if it was left out."""
    return None if left_out(output) else output


def or_equal(output: Tensor, equal: Tensor) -> Tensor:
    """The output or, if it was left out, the tensor that has the same values."""
    return equal if left_out(output) else output


# Gradients. If an operator was traced without gradients, it saved nothing for the backward pass,
# which then runs it again.


def _save_memory_cell(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
    z, v, c_0, padding_mask, ctx.cell_id, ctx.reverse, save, u = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)
    y, _, cells = output
    is_kept = save or u is not None  # y of the scan is the memory cell
    ctx.save_for_backward(z, v, c_0, padding_mask, or_equal(cells, y) if is_kept else None)


def _memory_cell_gradient(ctx: Any, dy: Tensor | None, dc_n: Tensor | None, _: None) -> Any:
    if torch.is_grad_enabled():
        _refuse()
    z, v, c_0, padding_mask, cells = ctx.saved_tensors
    rest = (ctx.cell_id, ctx.reverse)
    if cells is None:
        y, _, cells = torch.ops.fairseq_wsum.memory_cell(z, v, c_0, padding_mask, *rest, True)
        cells = or_equal(cells, y)
    dz, dv, dc_0, du = torch.ops.fairseq_wsum.memory_cell_backward(
        dy, dc_n, z, v, c_0, padding_mask, cells, *rest
    )
    return dz, _none(dv), dc_0, None, None, None, None, _none(du)


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
        blocks = _hidden_gradients(cell, dz, saved)
        dw_hh = torch.cat([_sum_of_products(dz_h, h, h_0, ctx.reverse) for dz_h in blocks])
        if b_inner is not None:
            db_inner = torch.cat([dz_h.sum((0, 1)) for dz_h in blocks])
    if w_hr is not None and ctx.needs_input_grad[3]:
        dw_hr = weight_gradient(dh, _unprojected(cell, saved, cells))
    dc_0 = None if c_0 is None else dc_0
    return dz, dw_hh, db_inner, dw_hr, dh_0, dc_0, None, None, None, None


def _hidden_gradients(cell: Cell, dz: Tensor, saved: Tensor) -> list[Tensor]:
    """The gradients of W_*h h_{t-1} + b_*h, in blocks of adjacent hidden rows.

    T x B x rows*H and T x B x saved_rows*H -> T x B x ...*H
    """
    units = dz.size(-1) // len(cell.rows)
    if isinstance(cell, GRU):  # n_t = tanh(z_n + r_t * (W_nh h_{t-1} + b_nh))
        r = _activated_gate(cell, saved[..., :units])
        return [dz[..., : 2 * units], dz[..., 2 * units :] * r]
    assert not cell.inner_bias_rows
    if cell.hidden_rows == cell.rows:  # a full slice would not be contiguous under vmap
        return [dz]
    return [dz[..., a * units : b * units] for a, b in adjacent_hidden(cell)]


def _sum_of_products(dz: Tensor, h: Tensor, h_0: Tensor, reverse: bool) -> Tensor:
    """The sum over all steps of dz_t h_{t-1}^T.

    The first step is added separately, so that no tensor of all h_{t-1} is needed.
    """
    first, later, before = (dz[-1], dz[:-1], h[1:]) if reverse else (dz[0], dz[1:], h[:-1])
    return torch.addmm(weight_gradient(later, before), first.t(), h_0)


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
for operator, gradient, save in (
    (memory_cell, _memory_cell_gradient, _save_memory_cell),
    (memory_cell_backward, _refuse, None),
    (recurrence, _recurrence_gradient, _save_recurrence),
    (recurrence_backward, _refuse, None),
):
    derive(operator.__name__, partial(operator, lambda problem: None), gradient, save)
