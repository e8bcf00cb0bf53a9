"""Rows of pre-activations, concatenated in one tensor.

Shapes: R rows of H units each form a last dimension of R*H.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .cell import Cell
from .precision import widened


def split(names: tuple[str, ...], z: Tensor) -> dict[str, Tensor]:
    """Split a tensor into its rows by letter: ... x R*H -> ... x H."""
    return dict(zip(names, z.chunk(len(names), dim=-1), strict=True)) if names else {}


def adjacent_hidden(cell: Cell) -> list[tuple[int, int]]:
    """Runs of hidden rows that are adjacent in `cell.rows`, as ranges [first, end) of indices.

    The rows of a run share one matrix product.
    """
    ranges: list[tuple[int, int]] = []
    for row in cell.hidden_rows:
        place = cell.rows.index(row)
        if ranges and ranges[-1][1] == place:
            ranges[-1] = (ranges[-1][0], place + 1)
        else:
            ranges.append((place, place + 1))
    return ranges


def add_hidden(cell: Cell, z_x: Tensor, z_h: Tensor) -> Tensor:
    """Complete pre-activations, from W_*x x_t of all rows and W_*h h_{t-1} of the hidden rows.

    The cell must not read c_{t-1}.
    """
    if cell.hidden_rows == cell.rows and not cell.inner_bias_rows:
        return z_x + z_h
    dtype = z_x.dtype
    if cell.inner_bias_rows:  # a gate multiplies the product with h_{t-1}
        z_x, z_h = widened(z_x), widened(z_h)
    z = cell.preactivations(split(cell.rows, z_x), split(cell.hidden_rows, z_h), z_x, {})
    return torch.cat([z[row] for row in cell.rows], dim=-1).to(dtype)


def summed_bias(cell: Cell, b_ih: Tensor | None, b_hh: Tensor | None) -> Tensor | None:
    """The sum of both biases in one vector over all rows with a matrix; None if there are none.

    It is zero for rows without a bias, and excludes the inner biases (`Cell.inner_bias_rows`).
    """
    if b_ih is None:
        return None
    rows, biased, inner = cell.weight_rows, cell.bias_rows, cell.inner_bias_rows
    if b_hh is None and rows == biased:
        return b_ih
    if b_hh is not None and not inner and rows == biased == cell.hidden_rows:
        return b_ih + b_hh
    bias = split(biased, b_ih)
    zero = torch.zeros_like(bias[biased[0]])
    if b_hh is not None:
        for row, values in split(cell.hidden_rows, b_hh).items():
            if row not in inner:
                bias[row] = bias.get(row, zero) + values
    return torch.cat([bias.get(row, zero) for row in rows])


def inner_bias(cell: Cell, b_hh: Tensor | None) -> Tensor | None:
    """The bias added to W_*h h_{t-1} over all hidden rows; None if the cell has no inner bias."""
    if b_hh is None or not cell.inner_bias_rows:
        return None
    bias = split(cell.hidden_rows, b_hh)
    inner = cell.inner_bias_rows
    return torch.cat([b if row in inner else torch.zeros_like(b) for row, b in bias.items()])
