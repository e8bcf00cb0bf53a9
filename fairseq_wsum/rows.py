"""Rows: the gates and the content layer of a cell, side by side in one tensor.

Shapes: R rows of H units each make a last dimension of R*H.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .ablation import Ablation


def split(names: tuple[str, ...], z: Tensor) -> dict[str, Tensor]:
    """The part of each row: ... x R*H -> ... x H, by name."""
    return dict(zip(names, z.chunk(len(names), dim=-1), strict=True))


def add_hidden(cell: Ablation, z_x: Tensor, z_h: Tensor) -> Tensor:
    """What comes from x_t, all rows, plus what comes from h_{t-1}, those rows that see it."""
    if cell.hidden_rows == cell.input_rows:
        return z_x + z_h
    z = split(cell.input_rows, z_x)
    for row, values in split(cell.hidden_rows, z_h).items():
        z[row] = z[row] + values
    return torch.cat([z[row] for row in cell.input_rows], dim=-1)


def joint_bias(cell: Ablation, b_ih: Tensor | None, b_hh: Tensor | None) -> Tensor | None:
    """Both biases in one vector over the input rows, zero where the equations have none."""
    if b_ih is None:
        return None
    if b_hh is not None and cell.input_rows == cell.input_bias_rows == cell.hidden_rows:
        return b_ih + b_hh
    bias = split(cell.input_bias_rows, b_ih)
    if b_hh is not None:
        for row, values in split(cell.hidden_rows, b_hh).items():
            bias[row] = bias[row] + values
    zero = torch.zeros_like(bias[cell.input_bias_rows[0]])
    return torch.cat([bias.get(row, zero) for row in cell.input_rows])
