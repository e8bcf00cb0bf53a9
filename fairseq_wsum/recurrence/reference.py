"""The reference backend: plain torch for any dtype and device. It is the oracle for all others.

Shapes: T time steps, B sequences, I input features, H hidden units, P features of h (P = H
without a projection).

Everything that does not depend on h_{t-1} is computed for all time steps at once. What is left of a
gated sum is the scan of its memory cell, c_t = u_t + f_t * c_{t-1}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cells import Cell
from ..cells.precision import wide, widened
from ..cells.rows import inner_bias, split, summed_bias
from ..products import product
from .padding import last_step, zero_at_padding
from .parameters import Inputs, Parameters, Results
from .scan import scan_reference

# (f, u, c_0, padding_mask, reverse) -> (cells, c_n), see `scan`
Scan = Callable[[Tensor, Tensor, Tensor, Tensor | None, bool], tuple[Tensor, Tensor]]


def run(given: Inputs) -> Results:
    """Run one direction of one layer over a sequence.

    Returns:
        The output, T x B x P, and h, B x P, and c, B x H, after the last time step that is not
        padding. h has the dtype of the products with x, and c has the dtype of `c_0`. A cell
        without a memory cell returns `c_0` for c.
        Within the sequence the gates and the memory cell are computed in at least 32 bits, because
        a long sum in 16 bits would lose small late contributions.
    """
    return recur(given, input_products(given.cell, given.x, given.p))


def input_products(cell: Cell, x: Tensor, p: Parameters) -> Tensor:
    """The pre-activations from the input, W_*x x_t + b_*, T x B x rows*H."""
    z = product(x, p.w_ih, summed_bias(cell, p.b_ih, p.b_hh))
    if cell.skip_rows:
        now, units = x[..., : x.size(-1) // cell.window], z.size(-1) // len(cell.weight_rows)
        skipped = cell.skip(now)
        if skipped.size(-1) != len(cell.skip_rows) * units:
            raise ValueError(
                f"cell {cell.name!r}: `skip` returned {skipped.size(-1)} features for skip_rows "
                f"{cell.skip_rows} in a layer of {units} units: give the layer as many units as "
                "inputs, or the cell another `skip` or `fit`"
            )
        z = torch.cat((z, skipped.to(z.dtype)), dim=-1)
    return z


def recur(given: Inputs, z: Tensor) -> Results:
    """`run`, from the result of `input_products`; `given.x` is not read."""
    c_0 = given.c_0
    memory = c_0.to(torch.promote_types(wide(z.dtype), c_0.dtype))
    given = given._replace(h_0=given.h_0.to(z.dtype), c_0=memory)
    if given.cell.is_gated_sum:
        y, h_n, c_n = run_parallel(given, z, scan_reference)
    else:
        y, h_n, c_n = _run_steps(given, z)
    return y, h_n, c_n.to(c_0.dtype)


def _run_steps(given: Inputs, z: Tensor) -> Results:
    """Run time step by time step, with the product with h_{t-1} in each."""
    cell, _, p, h, c, padding_mask, reverse = given
    assert (p.w_hh is not None) == cell.has_recurrent_matrix
    z_steps, b_inner = z.unbind(), inner_bias(cell, p.b_hh)
    outputs: list[Tensor] = []
    steps = range(len(z_steps))
    for t in steps[::-1] if reverse else steps:
        h_t, c_t = step(cell, z_steps[t], p, b_inner, h, c)
        if padding_mask is not None:
            stay = padding_mask[t].unsqueeze(-1)  # B x 1
            h_t, c_t = torch.where(stay, h, h_t), torch.where(stay, c, c_t)
        h, c = h_t, c_t
        outputs.append(h)
    y = torch.stack(outputs[::-1] if reverse else outputs)
    return zero_at_padding(y, padding_mask), h, c


def step(
    cell: Cell, z: Tensor, p: Parameters, b_inner: Tensor | None, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor]:
    """One time step: h_t and c_t from h_{t-1}, ... x P, and c_{t-1}, ... x H.

    Args:
        cell, p: as in `run`.
        z: the products with x_t, ... x rows*H.
        b_inner: the inner biases (`rows.inner_bias`), hidden_rows*H, or None.
        h, c: the state before; c in at least 32 bits.
    """
    from_x = split(cell.rows, widened(z))
    from_h = {} if p.w_hh is None else split(cell.hidden_rows, F.linear(h, p.w_hh, b_inner))
    h_t, c_t = cell.step(cell.preactivations(from_x, from_h, c, p.v), c)
    return _project(h_t.to(z.dtype), p.w_hr), c_t


def run_parallel(given: Inputs, z: Tensor, scan: Scan) -> Results:
    """Run a gated sum: everything for all time steps at once, the memory cell by a scan."""
    cell, _, p, h_0, c_0, padding_mask, reverse = given
    assert cell.is_gated_sum
    nothing: Any = None  # in place of c_{t-1}, which a gated sum does not read
    z_all = cell.preactivations(split(cell.rows, widened(z)), {}, nothing, p.v)
    i, f = cell.gates(z_all)
    # a gate may be a vector, or a constant of another type on the CPU
    f, u = torch.broadcast_tensors(f.to(c_0), (i * cell.content(z_all)).to(c_0))
    cells, c_n = scan(f, u, c_0, padding_mask, reverse)
    y = _project(cell.output(z_all, cells).to(z.dtype), p.w_hr)
    h_n = last_step(y, h_0, padding_mask, reverse)
    return zero_at_padding(y, padding_mask), h_n, c_n


def _project(h: Tensor, w_hr: Tensor | None) -> Tensor:
    return h if w_hr is None else F.linear(h, w_hr)
