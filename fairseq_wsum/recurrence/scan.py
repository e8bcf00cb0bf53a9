"""The scan of a gated sum, the memory cell of all time steps.

    c_t = f_t * c_{t-1} + u_t

`scan` runs on the kernels, `scan_reference` is plain torch.

Shapes: T time steps, B sequences, H hidden units. The memory cell has at least 32 bits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..cells.cell import memory
from ..transforms import in_transformation
from . import problem


def scan(
    f: Tensor, u: Tensor, c_0: Tensor, padding_mask: Tensor | None = None, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """c_t = f_t * c_{t-1} + u_t for all time steps, by the kernels for the device of `f`.

    Within transforms of `torch.func` and in forward mode it is `scan_reference`.

    Args:
        f: the factors, T x B x H with T > 0. They may be 0, negative or larger than 1, but the
            product of the factors of any consecutive steps must be finite in float32. On a GPU
            these products are computed, and where one overflows, c_t can be NaN.
        u: what is added, T x B x H, in the dtype of `f`.
        c_0: the initial memory cell, B x H, float32.
        padding_mask: True at padding, T x B. There c_t = c_{t-1}, and `f` and `u` are not read.
        reverse: run from the last time step to the first.

    Returns:
        c_t, T x B x H, and its last value in the direction of the scan, B x H, in float32.

    Raises:
        RuntimeError: there are no kernels for the device; use `scan_reference`.
        ValueError: the types, shapes or devices of the tensors do not fit.
    """
    _check(f, u, c_0)
    if in_transformation():
        return scan_reference(f, u, c_0, padding_mask, reverse)
    cells, c_n, _ = torch.ops.fairseq_wsum.memory_cell(
        f, None, c_0, padding_mask, problem.encode(problem.Scan()), reverse, True, u
    )
    return cells, c_n


# The reference


def scan_reference(
    f: Tensor, u: Tensor, c_0: Tensor, padding_mask: Tensor | None = None, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """`scan` in plain torch, for every dtype and device, with all derivatives.

    On the CPU it goes step by step. Elsewhere, where each operation takes as long to launch as many
    steps take to compute, it is `by_pairs`.
    """
    _check(f, u, c_0)
    if padding_mask is not None:
        padded = padding_mask.unsqueeze(-1)
        f, u = f.masked_fill(padded, 1), u.masked_fill(padded, 0)
    if reverse:
        f, u = f.flip(0), u.flip(0)
    cells = (by_steps if f.device.type == "cpu" else by_pairs)(f, u, c_0)
    return (cells.flip(0) if reverse else cells), cells[-1]


def by_steps(f: Tensor, u: Tensor, c: Tensor) -> Tensor:
    """The equation in a loop over time: T x B x H, T x B x H, B x H -> T x B x H."""
    cells = []
    for f_t, u_t in zip(f, u, strict=True):
        c = memory(u_t, f_t, c)
        cells.append(c)
    return torch.stack(cells)


def by_pairs(f: Tensor, u: Tensor, c_0: Tensor) -> Tensor:
    """`by_steps` in some 2 log2(T) operations on whole tensors, of O(T B H) elements altogether.

    Join pairs of steps, scan the pairs, and fill in the first step of each pair. A pair of steps is
    a step with the factor f_2 f_1 and the term u_2 + f_2 u_1.
    """
    dtype = torch.promote_types(f.dtype, c_0.dtype)
    f, u, c_0 = f.to(dtype), u.to(dtype), c_0.to(dtype)
    steps = len(f)
    if steps == 1:
        return memory(u, f, c_0)
    if steps % 2 == 1:
        cells = by_pairs(f[:-1], u[:-1], c_0)
        return torch.cat((cells, memory(u[-1:], f[-1:], cells[-1:])))
    f_1, f_2 = f.unflatten(0, (-1, 2)).unbind(1)
    u_1, u_2 = u.unflatten(0, (-1, 2)).unbind(1)
    seconds = by_pairs(f_2 * f_1, memory(u_2, f_2, u_1), c_0)
    before = torch.cat((c_0[None], seconds[:-1]))
    return torch.stack((memory(u_1, f_1, before), seconds), 1).flatten(0, 1)


def _check(f: Tensor, u: Tensor, c_0: Tensor) -> None:
    if f.dim() != 3 or f.shape != u.shape or f.size(0) == 0:
        sizes = f"{tuple(f.shape)} and {tuple(u.shape)}"
        raise ValueError(f"a scan takes f and u of one size T x B x H with T > 0, got {sizes}")
    if c_0.shape != f.shape[1:]:
        sizes = f"{tuple(c_0.shape)} for f of size {tuple(f.shape)}"
        raise ValueError(f"a scan takes c_0 of the size of one step, got {sizes}")
