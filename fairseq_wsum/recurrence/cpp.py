"""The CPU backend: C++ kernels (csrc/), built with the package and loaded on first use.

This file passes tensors to the kernels as pointers and registers the kernels for the operators.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from .. import kernels, library
from ..cells import Cell
from ..transforms import in_transformation
from . import arguments, operators


def why_not(cell: Cell, device: torch.device, dtype: torch.dtype, projects: bool) -> str | None:
    """Why these kernels do not support this cell, device or dtype, or None if they do."""
    if not operators.has_kernels(cell, "cpu") and not cell.is_gated_sum:
        return f"it has kernels for gated sums and the package's own cells, not for {cell.label}"
    if device.type != "cpu":
        return f"it runs on CPUs, and the layer is on {device}"
    if dtype not in kernels.DTYPES:
        return f"it computes in float32 and bfloat16, not in {dtype}"
    if in_transformation():
        return operators.NOT_TRANSFORMED
    return kernels.why_missing()


class _MemoryCell(ctypes.Structure):
    arrays = arguments.MEMORY_CELL
    _fields_ = kernels.fields("T B H rows vectors", "cell_id is_bf16 reverse threads", arrays)


class _Recurrence(ctypes.Structure):
    arrays = arguments.RECURRENCE
    _fields_ = kernels.fields(
        "T B H P rows hidden_rows saved_rows", "cell_id is_bf16 reverse threads", arrays
    )


def _call(
    name: str,
    kind: Any,
    cell_id: int,
    like: Tensor,
    reverse: bool,
    sizes: dict[str, int],
    tensors: dict[str, Tensor | None],
    backward: bool = False,
) -> None:
    """Check the tensors of an operator and call its function of the library.

    Args:
        name, kind, like, tensors, backward: as in `kernels.call`.
        cell_id: that of the cell (`operators.encode`).
        reverse: run from the last time step to the first.
        sizes: the dimensions by letter, without those of the cell.

    Raises:
        MemoryError: the scratch space could not be allocated.
        ValueError: a tensor does not fit the others (`arguments.check`).
    """
    arguments.check(kind.arrays, kernels.DTYPES, cell_id, like, sizes, **tensors)
    counts = arguments.counts_of_cell(cell_id)
    counts = {key: counts[key] for key, _ in kind._fields_ if key in counts}
    numbers = {**sizes, **counts, "cell_id": cell_id, "reverse": reverse}
    result = kernels.call(name, kind, like, numbers, tensors, backward)
    assert result == 0, f"csrc/instantiate.h has no cell {cell_id} with {counts}"


def _memory_cell(
    z: Tensor,
    v: Tensor | None,
    c_0: Tensor,
    padding_mask: Tensor | None,
    cell_id: int,
    reverse: bool,
    save: bool,
    u: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    sizes = arguments.memory_cell_sizes(z, c_0)
    y, c_n, cells = operators.memory_cell_outputs(z, c_0, padding_mask, cell_id, save)
    tensors = dict(padding=padding_mask, z=z, u=u, v=v, c_0=c_0)
    tensors.update(y=y, c_n=c_n, cells=_or_none(cells))
    _call("wsum_memory_cell", _MemoryCell, cell_id, z, reverse, sizes, tensors)
    return y, c_n, cells


def _memory_cell_backward(
    dy: Tensor | None,
    dc_n: Tensor | None,
    z: Tensor,
    v: Tensor | None,
    c_0: Tensor,
    padding_mask: Tensor | None,
    cells: Tensor,
    cell_id: int,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sizes = arguments.memory_cell_sizes(z, c_0)
    dz, dv, dc_0, du = operators.memory_cell_gradients(z, v, c_0, cell_id)
    parts = None if v is None else c_0.new_empty((len(c_0), *v.shape))
    tensors = dict(padding=padding_mask, z=z, v=v, c_0=c_0, cells=cells)
    tensors.update(dy=dy, dc_n=dc_n, dz=dz, du=_or_none(du), dv=parts, dc_0=dc_0)
    _call("wsum_memory_cell", _MemoryCell, cell_id, z, reverse, sizes, tensors, True)
    return dz, dv if parts is None else parts.sum(0), dc_0, du


def _recurrence(
    z: Tensor,
    w_hh: Tensor,
    b_inner: Tensor | None,
    w_hr: Tensor | None,
    h_0: Tensor,
    c_0: Tensor | None,
    padding_mask: Tensor | None,
    cell_id: int,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    sizes = arguments.recurrence_sizes(z, w_hr, h_0)
    outputs = operators.recurrence_outputs(z, w_hr, h_0, c_0, padding_mask, cell_id, save)
    names = ("y", "h_n", "c_n", "saved", "cells", "states")
    tensors = dict(padding=padding_mask, z=z, w_hh=w_hh, b_inner=b_inner, w_hr=w_hr)
    tensors.update(h_0=h_0, c_0=c_0)
    tensors.update(zip(names, map(_or_none, outputs), strict=True))
    _call("wsum_recurrence", _Recurrence, cell_id, z, reverse, sizes, tensors)
    return outputs


def _recurrence_backward(
    dy: Tensor | None,
    dh_n: Tensor | None,
    dc_n: Tensor | None,
    w_hh: Tensor,
    w_hr: Tensor | None,
    h_0: Tensor,
    c_0: Tensor | None,
    padding_mask: Tensor | None,
    saved: Tensor,
    cells: Tensor,
    cell_id: int,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sizes = arguments.recurrence_sizes(saved, w_hr, h_0)
    gradients = operators.recurrence_gradients(saved, w_hr, h_0, c_0, cell_id)
    tensors = dict(padding=padding_mask, w_hh=w_hh, w_hr=w_hr, saved=saved, c_0=c_0)
    tensors.update(dy=dy, dh_n=dh_n)
    if c_0 is not None:
        tensors.update(cells=cells, dc_n=dc_n)
    tensors.update(zip(("dz", "dh", "dh_0", "dc_0"), map(_or_none, gradients), strict=True))
    _call("wsum_recurrence", _Recurrence, cell_id, saved, reverse, sizes, tensors, True)
    return gradients


def _or_none(output: Tensor) -> Tensor | None:
    """The output, or None if it was left out."""
    return None if operators.left_out(output) else output


library.implement(
    "CPU",
    {
        "memory_cell": _memory_cell,
        "memory_cell_backward": _memory_cell_backward,
        "recurrence": _recurrence,
        "recurrence_backward": _recurrence_backward,
    },
)
