"""`run` for the C++ and Triton backends: a layer expressed through the custom operators."""

from __future__ import annotations

import torch
from torch import Tensor

from ..cells import Cell, Rows
from ..cells.rows import add_hidden
from ..ops import operators
from ..ops.products import product
from .reference import last_real_step


def run(
    cell: Cell,
    z: Tensor,
    w_hh: Tensor | None,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    v: Rows,
    h_0: Tensor,
    c_0: Tensor,
    padding_mask: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one direction of one layer over a sequence: see `reference.run`."""
    assert (w_hh is not None) == cell.is_recurrent and b_hh is None and not v
    dtype = z.dtype
    h_0, c = h_0.to(dtype), c_0.to(torch.float32)
    if w_hh is not None and z.size(0) > 1:
        w_hh, w_hr = w_hh.to(dtype), None if w_hr is None else w_hr.to(dtype)
        memory = c if cell.has_memory else None
        given = (z, w_hh, w_hr, h_0, memory)
        y, h_n, c_n, *_ = torch.ops.fairseq_wsum.recurrence(
            *given, padding_mask, operators.encode(cell), reverse, _wants_grad(*given)
        )
        return y, h_n, c_n.to(c_0.dtype) if cell.has_memory else c_0

    if w_hh is not None:  # a single step does not repay the cost of repacking the matrix
        z = add_hidden(cell, z, product(h_0, w_hh))
    if cell.has_memory:
        y, c_n, _ = torch.ops.fairseq_wsum.gated_sum(
            z, c, padding_mask, operators.encode(cell), reverse, _wants_grad(z, c)
        )
    else:
        y, c_n = torch.tanh(z), c
        if padding_mask is not None:
            y = y.masked_fill(padding_mask.unsqueeze(-1), 0)
    if w_hr is not None:
        y = product(y, w_hr)
    if padding_mask is None:
        h_n = y.squeeze(0) if y.size(0) == 1 else y[0 if reverse else -1]
    else:
        h_n = last_real_step(y, h_0, padding_mask, reverse)
    return y, h_n, c_n.to(c_0.dtype) if cell.has_memory else c_0


def _wants_grad(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
