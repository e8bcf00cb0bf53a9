"""The reference backend: plain torch, for any dtype and device; the oracle of all others.

Shapes: T time steps, B sequences, I input features, H hidden units, P features of h (P = H
without a projection).

What needs no h_{t-1} is computed for all time steps at once. So a cell without recurrent matrices
has no product inside its loop over time, only the memory cell's c_t = u_t + f_t * c_{t-1}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import equations
from ..ablation import Ablation

if TYPE_CHECKING:
    from . import Weights


def why_not(cell: Ablation, x: Tensor, weights: Weights, padding_mask: Tensor | None) -> str | None:
    """The reference backend runs everything."""
    return None


def run(
    cell: Ablation,
    x: Tensor,
    weights: Weights,
    h_0: Tensor,
    c_0: Tensor,
    padding_mask: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one direction of one layer over a sequence.

    Args:
        cell: what the cell has.
        x: input, T x B x I with T > 0.
        weights: the parameters, laid out as `cell` says.
        h_0: initial output, B x P.
        c_0: initial memory cell, B x H.
        padding_mask: True where `x` is padding, T x B. There the state stays as it is and the
            output is zero.
        reverse: go from the last time step to the first.

    Returns:
        The output (T x B x P), and the state after the last real step: h (B x P) and c (B x H).
        h has the dtype of the products, c that of `c_0`. Within the sequence the memory cell is
        summed in 32 bits at least: in 16 bits a long sum would lose what is added late.
    """
    if padding_mask is not None:
        # zero times a NaN is a NaN: nothing that stands at padding may enter a product
        x = x.masked_fill(padding_mask.unsqueeze(-1), 0)
    z = F.linear(x, weights.ih, joint_bias(cell, weights))  # T x B x rows*H
    h_0, c = h_0.to(z.dtype), c_0.to(torch.promote_types(c_0.dtype, torch.float32))
    run_cell = _run_recurrent if cell.is_recurrent else _run_parallel
    y, h_n, c_n = run_cell(cell, z, weights, h_0, c, padding_mask, reverse)
    return y, h_n, c_n.to(c_0.dtype)


def _run_recurrent(
    cell: Ablation,
    z: Tensor,
    weights: Weights,
    h: Tensor,
    c: Tensor,
    padding_mask: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step after the other, with the product of h_{t-1} in each."""
    z_steps = z.unbind()
    outputs: list[Tensor] = []
    for t in _order(len(z_steps), reverse):
        z_t = add_rows(cell, z_steps[t], F.linear(h, _given(weights.hh)))
        h_t, c_t = equations.step(cell, z_t, c)
        h_t = _project(h_t.to(z.dtype), weights)
        if padding_mask is not None:
            stay = padding_mask[t].unsqueeze(-1)  # B x 1
            h_t, c_t = torch.where(stay, h, h_t), torch.where(stay, c, c_t)
        h, c = h_t, c_t
        outputs.append(h)
    y = _stack(outputs, reverse)
    if padding_mask is not None:
        y = y.masked_fill(padding_mask.unsqueeze(-1), 0)
    return y, h, c


def _run_parallel(
    cell: Ablation,
    z: Tensor,
    weights: Weights,
    h_0: Tensor,
    c: Tensor,
    padding_mask: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """All time steps at once, but for the weighted sum in the memory cell."""
    z_all = _rows(cell.input_rows, z)
    i, f = equations.memory_gates(cell, z_all)
    u = i * equations.content(cell, z_all)
    if padding_mask is not None:
        padded = padding_mask.unsqueeze(-1)
        u, f = u.masked_fill(padded, 0), f.masked_fill(padded, 1)

    u_steps, f_steps = u.unbind(), f.unbind()
    cells: list[Tensor] = []
    for t in _order(len(u_steps), reverse):
        c = equations.memory(u_steps[t], f_steps[t], c)
        cells.append(c)

    y = equations.output(cell, z_all, _stack(cells, reverse))
    y = _project(y.to(z.dtype), weights)
    if padding_mask is None:
        return y, y[0 if reverse else -1], c
    h = last_real_step(y, h_0, padding_mask, reverse)
    return y.masked_fill(padded, 0), h, c


def last_real_step(y: Tensor, h_0: Tensor, padding_mask: Tensor, reverse: bool) -> Tensor:
    """The output (B x P) where each sequence ends; `h_0` for one that is all padding."""
    n = y.size(0)
    steps = torch.arange(n, device=y.device).unsqueeze(-1)  # T x 1
    if reverse:
        last = steps.masked_fill(padding_mask, n).amin(0)
    else:
        last = steps.masked_fill(padding_mask, -1).amax(0)
    index = last.clamp(0, n - 1).view(1, -1, 1).expand(1, -1, y.size(-1))
    none = padding_mask.all(0).unsqueeze(-1)
    return torch.where(none, h_0, y.gather(0, index).squeeze(0))


def joint_bias(cell: Ablation, weights: Weights) -> Tensor | None:
    """Both biases in one vector over the input rows, zero where the equations have none."""
    if weights.b_ih is None:
        return None
    bias = _rows(cell.input_bias_rows, weights.b_ih)
    if weights.b_hh is not None:
        for row, b in _rows(cell.hidden_rows, weights.b_hh).items():
            bias[row] = bias[row] + b
    zero = torch.zeros_like(bias[cell.input_bias_rows[0]])
    return torch.cat([bias.get(row, zero) for row in cell.input_rows])


def _rows(names: tuple[str, ...], z: Tensor) -> dict[str, Tensor]:
    """Split the last dimension into one part for each row."""
    return dict(zip(names, z.chunk(len(names), dim=-1), strict=True))


def add_rows(cell: Ablation, z_x: Tensor, z_h: Tensor) -> dict[str, Tensor]:
    """The pre-activations of one step: what comes from x_t plus what comes from h_{t-1}."""
    if cell.hidden_rows == cell.input_rows:
        return _rows(cell.input_rows, z_x + z_h)
    z = _rows(cell.input_rows, z_x)
    for row, z_row in _rows(cell.hidden_rows, z_h).items():
        z[row] = z[row] + z_row
    return z


def _project(h: Tensor, weights: Weights) -> Tensor:
    return h if weights.hr is None else F.linear(h, weights.hr)


def _order(n: int, reverse: bool) -> range:
    return range(n - 1, -1, -1) if reverse else range(n)


def _stack(steps: list[Tensor], reverse: bool) -> Tensor:
    """The steps, taken in the order of `_order`, as a T x B x H tensor in order of time."""
    return torch.stack(steps[::-1] if reverse else steps)


def _given(tensor: Tensor | None) -> Tensor:
    assert tensor is not None, "a recurrent cell has recurrent matrices"
    return tensor
