"""The scan of a gated sum, the memory cell of all time steps, as a custom operator of torch.

    c_t = f_t * c_{t-1} + u_t

Each backend provides the kernels for one device type, as for `operators`. `scan_reference` is plain
torch.

Shapes: T time steps, B sequences, H hidden units. The memory cell has at least 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..cells.cell import memory
from .library import LIBRARY, derive, no_second_derivatives
from .transforms import in_transformation

# f, u: T x B x H in one dtype; c_0: B x H;
# padding_mask: T x B, True at padding, where c_t = c_{t-1}
# -> cells: c_t, T x B x H, and c_n: c_t after the last step, B x H; both have the dtype of c_0
LIBRARY.define(
    "scan(Tensor f, Tensor u, Tensor c_0, Tensor? padding_mask, bool reverse) -> (Tensor, Tensor)"
)
# -> df, du, dc_0
LIBRARY.define(
    "scan_backward(Tensor? dcells, Tensor? dc_n, Tensor f, Tensor c_0, Tensor? padding_mask,"
    " Tensor cells, bool reverse) -> (Tensor, Tensor, Tensor)"
)


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
        ValueError: the tensors are on different devices, or their types or shapes do not fit.
    """
    given = {"f": f, "u": u, "c_0": c_0}
    if padding_mask is not None:
        given["padding_mask"] = padding_mask
    if any(tensor.device != f.device for tensor in given.values()):
        devices = ", ".join(str(tensor.device) for tensor in given.values())
        raise ValueError(f"a scan takes {', '.join(given)} on one device, got {devices}")
    if in_transformation():
        return scan_reference(f, u, c_0, padding_mask, reverse)
    cells, c_n = torch.ops.fairseq_wsum.scan(f, u, c_0, padding_mask, reverse)
    return cells, c_n


# The reference


def scan_reference(
    f: Tensor, u: Tensor, c_0: Tensor, padding_mask: Tensor | None = None, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """`scan` in plain torch, for every dtype and device, with all derivatives.

    On the CPU it goes step by step. Elsewhere, where each operation takes as long to launch as many
    steps take to compute, it is `by_pairs`.
    """
    if len(f) == 0:
        raise ValueError("a scan takes at least one time step, got none")
    if f.shape != u.shape:
        raise ValueError(f"a scan takes f and u of one size, got {(*f.shape,)} and {(*u.shape,)}")
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


# Shapes for tracing; the kernels use the same functions to allocate their outputs


def scan_outputs(f: Tensor, c_0: Tensor) -> tuple[Tensor, Tensor]:
    """Uninitialised outputs of `scan`."""
    return c_0.new_empty(f.shape), c_0.new_empty(c_0.shape)


def scan_gradients(f: Tensor, c_0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Uninitialised outputs of `scan_backward`."""
    return f.new_empty(f.shape), f.new_empty(f.shape), c_0.new_empty(c_0.shape)


def _fake_scan(f, u, c_0, padding_mask, reverse):  # type: ignore[no-untyped-def]
    return scan_outputs(f, c_0)


def _fake_scan_backward(  # type: ignore[no-untyped-def]
    dcells, dc_n, f, c_0, padding_mask, cells, reverse
):
    return scan_gradients(f, c_0)


def _save(ctx: Any, inputs: Sequence[Any], output: Sequence[Tensor]) -> None:
    f, _, c_0, padding_mask, ctx.reverse = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(f, c_0, padding_mask, output[0])


def _gradient(ctx: Any, dcells: Tensor | None, dc_n: Tensor | None) -> Any:
    if torch.is_grad_enabled():
        _refuse()
    f, c_0, padding_mask, cells = ctx.saved_tensors
    df, du, dc_0 = torch.ops.fairseq_wsum.scan_backward(
        dcells, dc_n, f, c_0, padding_mask, cells, ctx.reverse
    )
    return df, du, dc_0, None, None


_refuse = no_second_derivatives(
    "`scan_reference`, or in a layer backend='reference' (--lstm-backend reference)"
)
derive("scan", _fake_scan, _gradient, _save)
derive("scan_backward", _fake_scan_backward, _refuse)
