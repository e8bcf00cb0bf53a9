"""`run` for the C++ and Triton backends: a layer expressed through the custom operators."""

from __future__ import annotations

import torch
from torch import Tensor

from ..cells.rows import add_hidden, inner_bias, split
from ..products import product
from . import problem, reference
from .padding import last_step, zero_at_padding
from .parameters import Inputs, Results
from .scan import scan


def run(given: Inputs) -> Results:
    """Run one direction of one layer over a sequence: see `reference.run`."""
    return recur(given, reference.input_products(given.cell, given.x, given.p))


def recur(given: Inputs, z: Tensor) -> Results:
    """`run`, from the products with x_t: see `reference.recur`."""
    cell, p, c_0 = given.cell, given.p, given.c_0
    given = given._replace(h_0=given.h_0.to(z.dtype), c_0=c_0.to(torch.float32))
    if not problem.has_kernels(cell, z.device.type):  # a gated sum without kernels of its own
        y, h_n, c_n = reference.run_parallel(given, z, scan)
    elif p.w_hh is not None and z.size(0) > 1:
        y, h_n, c_n = _recurrence(given, z)
    else:
        if p.w_hh is not None:  # a single step does not repay the cost of repacking the matrix
            z = add_hidden(cell, z, product(given.h_0, p.w_hh, inner_bias(cell, p.b_hh)))
        y, h_n, c_n = _memory_cell(given, z)
    return y, h_n, c_n.to(c_0.dtype) if cell.has_memory else c_0


def _recurrence(given: Inputs, z: Tensor) -> Results:
    """Run a layer of several steps whose pre-activations depend on h_{t-1}."""
    cell, _, p, h_0, c_0, padding_mask, reverse = given
    assert p.w_hh is not None and not p.v  # the operator takes no vectors
    matrices = (p.w_hh, inner_bias(cell, p.b_hh), p.w_hr)
    w_hh, b_inner, w_hr = (None if t is None else t.to(z.dtype) for t in matrices)
    tensors = (z, w_hh, b_inner, w_hr, h_0, c_0 if cell.has_memory else None)
    y, h_n, c_n, *_ = torch.ops.fairseq_wsum.recurrence(
        *tensors, padding_mask, problem.encode(cell), reverse, _wants_grad(*tensors)
    )
    return y, h_n, c_n


def _memory_cell(given: Inputs, z: Tensor) -> Results:
    """Run a layer whose pre-activations z are complete: a gated sum, or a single step."""
    cell, _, p, h_0, c_0, padding_mask, reverse = given
    if cell.has_memory:
        vectors = torch.stack([p.v[name].float() for name in cell.vectors]) if p.v else None
        y, c_n, _ = torch.ops.fairseq_wsum.memory_cell(
            *(z, vectors, c_0, padding_mask, problem.encode(cell), reverse),
            _wants_grad(z, vectors, c_0),
        )
    else:
        y, c_n = zero_at_padding(cell.content(split(cell.rows, z)), padding_mask), c_0
    if p.w_hr is not None:  # zero times NaN is NaN, so no gradient at padding may enter the product
        y = zero_at_padding(product(y, p.w_hr), padding_mask)
    return y, last_step(y, h_0, padding_mask, reverse), c_n


def _wants_grad(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
