"""What the backends with kernels of their own share: a layer in terms of `ops`.

Shapes: T time steps, B sequences, I input features, H hidden units, P features of h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import ops
from ..ablation import Ablation
from ..products import linear
from .reference import add_rows, joint_bias, last_real_step

if TYPE_CHECKING:
    from . import Weights


def run(
    cell: Ablation,
    x: Tensor,
    weights: Weights,
    h_0: Tensor,
    c_0: Tensor,
    padding_mask: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one direction of one layer over a sequence: see `reference.run`."""
    dtype = compute_dtype(x)
    if padding_mask is not None:
        x = x.masked_fill(padding_mask.unsqueeze(-1), 0)
    x, h_0, c = x.to(dtype), h_0.to(dtype), c_0.to(torch.float32)
    if weights.ih.dtype != dtype:
        weights = weights._replace(
            **{name: w.to(dtype) for name, w in weights._asdict().items() if w is not None}
        )
    z = linear(x, weights.ih, joint_bias(cell, weights))  # T x B x R*H
    if cell.is_recurrent and x.size(0) > 1:
        assert weights.hh is not None
        memory = c if cell.gates else None
        y, h_n, c_n = ops.recurrence(
            cell, z, weights.hh, weights.hr, h_0, memory, padding_mask, reverse
        )
        return y, h_n, c_n.to(c_0.dtype) if cell.gates else c_0

    if weights.hh is not None:  # a single step
        z_h = linear(h_0, weights.hh)
        if cell.hidden_rows == cell.input_rows:
            z = z + z_h
        else:
            rows = add_rows(cell, z, z_h)
            z = torch.cat([rows[row] for row in cell.input_rows], dim=-1)
    if cell.gates:
        y, c_n = ops.gated_sum(cell, z, c, padding_mask, reverse)
    else:
        y, c_n = torch.tanh(z), c
        if padding_mask is not None:
            y = y.masked_fill(padding_mask.unsqueeze(-1), 0)
    if weights.hr is not None:
        y = linear(y, weights.hr)
    if padding_mask is None:
        h_n = y[0 if reverse else -1]
    else:
        h_n = last_real_step(y, h_0, padding_mask, reverse)
    return y, h_n, c_n.to(c_0.dtype) if cell.gates else c_0


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype of the products: autocast's, where it is on."""
    device = x.device.type
    if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return x.dtype
