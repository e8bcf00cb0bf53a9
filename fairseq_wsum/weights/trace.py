"""`trace`: the contents, gates and memory cells of a layer, from the description of its cell.

The layer runs as usual, with any backend. Its outputs give h_{t-1} for every step, so the gates of
all steps are computed at once. This costs the matrix products of one more forward pass.

Shapes: T time steps, B sequences, H hidden units, P features of h.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ..cells import Cell, Rows
from ..cells.cell import memory
from ..cells.precision import wide
from ..cells.rows import inner_bias, split
from ..layer import Pass, State, WsumLSTM
from ..recurrence.padding import states_before, zero_at_padding
from ..recurrence.reference import input_products
from ..recurrence.scan import scan_reference
from ..transforms import without_autocast


@dataclass(frozen=True)
class Trace:
    """What one direction of one layer computed.

    The memory cell is c_t = f_t * c_{t-1} + i_t * g_t. For every cell i_t is the factor of the
    content, such as 1 - z_t in a GRU. At padding i_t and g_t are zero and f_t is one.

    Attributes:
        cell: the cell.
        layer: the index of the layer within its `WsumLSTM`, from 0.
        reverse: whether the direction is from the last time step to the first.
        preactivations: z_t by row, T x B x H each.
        contents: g_t, T x B x H.
        input_gates: i_t, T x B x H.
        forget_gates: f_t, T x B x H.
        cells: c_t, rebuilt from the gates, T x B x H.
        outputs: h_t as the layer computed it, zero at padding, T x B x P.
        c_0: the initial memory cell, B x H.
        c_n: the last memory cell as the layer computed it, B x H.
        w_hr: the projection of LSTMP, P x H, or None.
        padding_mask: True at padding, T x B, or None.
    """

    cell: Cell
    layer: int
    reverse: bool
    preactivations: Rows
    contents: Tensor
    input_gates: Tensor
    forget_gates: Tensor
    cells: Tensor
    outputs: Tensor
    c_0: Tensor
    c_n: Tensor
    w_hr: Tensor | None
    padding_mask: Tensor | None

    @property
    def direction(self) -> str:
        """`forward` or `backward`."""
        return "backward" if self.reverse else "forward"

    def output(self, cells: Tensor) -> Tensor:
        """h_t from memory cells c_t, T x B x H -> T x B x P."""
        h = self.cell.output(self.preactivations, cells)
        if self.w_hr is not None:
            with without_autocast(h.device):
                h = F.linear(h, self.w_hr)
        return zero_at_padding(h, self.padding_mask)


def trace(
    layer: WsumLSTM,
    x: Tensor | PackedSequence,
    hx: State | None = None,
    padding_mask: Tensor | None = None,
) -> list[Trace]:
    """Run a layer and return what its cells computed.

    Args:
        layer: a layer whose cell has a memory cell. In training mode its dropout is active.
        x, hx, padding_mask: as in `WsumLSTM.forward`, whose `input` is x.

    Returns:
        A `Trace` for each layer and direction, in the order of the states: first layer, forward;
        first layer, backward; second layer, forward, and so on. Time is always the first dimension.
        The sequences have the order of the batch. Values are float32, or float64 in a layer of
        float64.

    Raises:
        ValueError: the cell has no memory cell, so it computes no weighted sum.
        RuntimeError, TypeError, ValueError: as in `WsumLSTM.forward`.
    """
    passes: list[Pass] = []
    layer(x, hx, padding_mask, record=passes.append)
    return [from_pass(one) for one in passes]


def from_pass(one: Pass) -> Trace:
    """What one direction of a layer computed, from what `WsumLSTM.forward` gives to `record`.

    With it the layers of a model are traced while the model runs: call a layer with
    `record=passes.append`.

    Raises:
        ValueError: the cell has no memory cell, so it computes no weighted sum.
    """
    cell, x, p, h_0, c_0, mask, reverse = one.given
    if not cell.has_memory:
        raise ValueError(f"cell {cell.name!r} has no memory cell, so it computes no weighted sum")
    dtype = wide(one.y.dtype)
    v = {name: vector.to(dtype) for name, vector in p.v.items()}
    parts = {name: w.to(dtype) for name, w in p._asdict().items() if isinstance(w, Tensor)}
    p = p._replace(v=v, **parts)
    x, y, h_0, c_0 = (tensor.to(dtype) for tensor in (x, one.y, h_0, c_0))
    with without_autocast(x.device):
        z_x = split(cell.rows, input_products(cell, x, p))
        h = states_before(y, h_0, mask, reverse)
        z_h: Rows = {}
        if p.w_hh is not None:
            z_h = split(cell.hidden_rows, F.linear(h, p.w_hh, inner_bias(cell, p.b_hh)))

    if cell.sees_memory:
        steps = range(len(y))
        order = steps[::-1] if reverse else steps
        z = _step_by_step(cell, z_x, z_h, c_0, p.v, mask, order)
    else:
        shape = (*y.shape[:2], c_0.size(-1))
        rows = cell.preactivations(z_x, z_h, c_0, p.v)
        z = {row: part.expand(shape) for row, part in rows.items()}  # a row may be a vector
    g, i, f = _content_and_gates(cell, z, mask)
    cells, _ = scan_reference(f, i * g, c_0, reverse=reverse)  # the gates are masked already
    return Trace(
        cell=cell,
        layer=one.layer,
        reverse=reverse,
        preactivations=z,
        contents=g,
        input_gates=i,
        forget_gates=f,
        cells=cells,
        outputs=y,
        c_0=c_0,
        c_n=one.c_n.to(dtype),
        w_hr=p.w_hr,
        padding_mask=mask,
    )


def _step_by_step(
    cell: Cell, z_x: Rows, z_h: Rows, c: Tensor, v: Rows, mask: Tensor | None, order: range
) -> Rows:
    """The pre-activations of a cell that reads c_{t-1}, T x B x H each."""
    rows = {}
    for t in order:
        from_x, from_h = ({row: z[t] for row, z in part.items()} for part in (z_x, z_h))
        rows[t] = cell.preactivations(from_x, from_h, c, v)
        g, i, f = _content_and_gates(cell, rows[t], None if mask is None else mask[t])
        c = memory(i * g, f, c)
    return {row: torch.stack([rows[t][row].expand_as(c) for t in sorted(rows)]) for row in rows[0]}


def _content_and_gates(
    cell: Cell, z: Rows, padding_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    g = cell.content(z)
    i, f = (gate.to(g) for gate in cell.gates(z))  # a gate may be a constant, on the CPU
    g, i, f = torch.broadcast_tensors(g, i, f)
    if padding_mask is None:
        return g, i, f
    padded = padding_mask.unsqueeze(-1)
    return g.masked_fill(padded, 0), i.masked_fill(padded, 0), f.masked_fill(padded, 1)
