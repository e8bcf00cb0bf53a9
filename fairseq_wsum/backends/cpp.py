"""The CPU backend: C++ kernels (ops/csrc/), built with the package and loaded on first use.

This file passes tensors to the kernels as pointers and registers the kernels for the operators.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from ..cells import Cell
from ..ops import arguments, kernels, library, operators
from ..ops import scan as scans
from ..ops.transforms import in_transformation


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


# The structs of csrc/kernels.h: sizes, then flags, then pointers to arrays


def _fields(sizes: str, of_cell: str, arrays: dict[str, str]) -> list[tuple[str, Any]]:
    flags = (*(("code",) if of_cell else ()), "is_bf16", "reverse", "threads")
    return [
        *((name, c_int64) for name in sizes + of_cell),
        *((name, c_int32) for name in flags),
        *((name, c_void_p) for name in arrays),
    ]


class _MemoryCell(ctypes.Structure):
    of_cell, arrays = "RK", arguments.MEMORY_CELL
    _fields_ = _fields("TBH", of_cell, arrays)


class _Scan(ctypes.Structure):
    of_cell, arrays = "", arguments.SCAN
    _fields_ = _fields("TBH", of_cell, arrays)


class _Recurrence(ctypes.Structure):
    of_cell, arrays = "RQS", arguments.RECURRENCE
    _fields_ = _fields("TBHP", of_cell, arrays)


def _call(
    name: str,
    kind: Any,
    code: int | None,
    like: Tensor,
    reverse: bool,
    sizes: dict[str, int],
    **tensors: Tensor | None,
) -> None:
    """Call a function of the library. Outputs must be contiguous; inputs are made so.

    Args:
        name: the name of the function.
        kind: the class of its struct.
        code: that of the cell (`operators.encode`); None for a struct without one.
        like: a tensor with the dtype of all tensors except the mask and those in float32.
        reverse: run from the last time step to the first.
        sizes: the dimensions by letter, without those of the cell.
        tensors: the tensors by name. None becomes a null pointer.

    Raises:
        MemoryError: the scratch space could not be allocated.
        ValueError: a tensor does not fit the others (`arguments.check`), or the library does not
            have this cell, or has it with other numbers of rows.
    """
    arguments.check(kind.arrays, kernels.DTYPES, code, like, sizes, **tensors)
    # they must live until the function has returned
    dense = {key: tensor.contiguous() for key, tensor in tensors.items() if tensor is not None}
    if code is not None:
        numbers = arguments.numbers_of_cell(code)
        sizes = {**sizes, "code": code, **{letter: numbers[letter] for letter in kind.of_cell}}
    values = kind(
        is_bf16=like.dtype == torch.bfloat16,
        reverse=reverse,
        threads=torch.get_num_threads(),
        **sizes,
        **{key: tensor.data_ptr() for key, tensor in dense.items()},
    )
    if kernels.call(name, values) == 1:
        raise ValueError(
            f"{name}: the C++ library has no cell with the code {code} and these rows, as it is "
            "of another version: install the package again (in a clone: scripts/setup.sh). If "
            "you have added or changed this cell, change csrc/instantiate.h and its header, too"
        )


def _memory_cell(
    z: Tensor,
    v: Tensor | None,
    c_0: Tensor,
    padding_mask: Tensor | None,
    code: int,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    sizes = arguments.memory_cell_sizes(z, c_0)
    y, c_n, cells = operators.memory_cell_outputs(z, c_0, padding_mask, code, save)
    tensors = dict(padding=padding_mask, z=z, v=v, c_0=c_0, y=y, c_n=c_n, cells=_or_none(cells))
    _call("wsum_memory_cell", _MemoryCell, code, z, reverse, sizes, **tensors)
    return y, c_n, cells


def _memory_cell_backward(
    dy: Tensor | None,
    dc_n: Tensor | None,
    z: Tensor,
    v: Tensor | None,
    c_0: Tensor,
    padding_mask: Tensor | None,
    cells: Tensor,
    code: int,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    sizes = arguments.memory_cell_sizes(z, c_0)
    dz, dv, dc_0 = operators.memory_cell_gradients(z, v, c_0)
    parts = None if v is None else c_0.new_empty((len(c_0), *v.shape))
    tensors = dict(padding=padding_mask, z=z, v=v, c_0=c_0, cells=cells)
    gradients = dict(dy=dy, dc_n=dc_n, dz=dz, dv=parts, dc_0=dc_0)
    name = "wsum_memory_cell_backward"
    _call(name, _MemoryCell, code, z, reverse, sizes, **tensors, **gradients)
    return dz, dv if parts is None else parts.sum(0), dc_0


def _scan(
    f: Tensor, u: Tensor, c_0: Tensor, padding_mask: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    cells, c_n = scans.scan_outputs(f, c_0)
    tensors = dict(padding=padding_mask, f=f, u=u, c_0=c_0, c_n=c_n, cells=cells)
    _call("wsum_scan", _Scan, None, f, reverse, arguments.scan_sizes(f), **tensors)
    return cells, c_n


def _scan_backward(
    dcells: Tensor | None,
    dc_n: Tensor | None,
    f: Tensor,
    c_0: Tensor,
    padding_mask: Tensor | None,
    cells: Tensor,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    df, du, dc_0 = scans.scan_gradients(f, c_0)
    tensors = dict(padding=padding_mask, f=f, c_0=c_0, cells=cells)
    gradients = dict(dcells=dcells, dc_n=dc_n, df=df, du=du, dc_0=dc_0)
    name, sizes = "wsum_scan_backward", arguments.scan_sizes(f)
    _call(name, _Scan, None, f, reverse, sizes, **tensors, **gradients)
    return df, du, dc_0


def _recurrence(
    z: Tensor,
    w_hh: Tensor,
    b_inner: Tensor | None,
    w_hr: Tensor | None,
    h_0: Tensor,
    c_0: Tensor | None,
    padding_mask: Tensor | None,
    code: int,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    sizes = arguments.recurrence_sizes(z, w_hr, h_0)
    outputs = operators.recurrence_outputs(z, w_hr, h_0, c_0, padding_mask, code, save)
    names = ("y", "h_n", "c_n", "saved", "cells", "states")
    tensors = dict(padding=padding_mask, z=z, w_hh=w_hh, b_inner=b_inner, w_hr=w_hr)
    tensors.update(h_0=h_0, c_0=c_0)
    tensors.update(zip(names, map(_or_none, outputs), strict=True))
    _call("wsum_recurrence", _Recurrence, code, z, reverse, sizes, **tensors)
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
    code: int,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sizes = arguments.recurrence_sizes(saved, w_hr, h_0)
    gradients = operators.recurrence_gradients(saved, w_hr, h_0, c_0, code)
    tensors = dict(padding=padding_mask, w_hh=w_hh, w_hr=w_hr, saved=saved, c_0=c_0)
    tensors.update(dy=dy, dh_n=dh_n)
    if c_0 is not None:
        tensors.update(cells=cells, dc_n=dc_n)
    tensors.update(zip(("dz", "dh", "dh_0", "dc_0"), map(_or_none, gradients), strict=True))
    _call("wsum_recurrence_backward", _Recurrence, code, saved, reverse, sizes, **tensors)
    return gradients


def _or_none(output: Tensor) -> Tensor | None:
    """The output, or None if it was left out."""
    return None if operators.left_out(output) else output


library.implement(
    "CPU",
    {
        "memory_cell": _memory_cell,
        "memory_cell_backward": _memory_cell_backward,
        "scan": _scan,
        "scan_backward": _scan_backward,
        "recurrence": _recurrence,
        "recurrence_backward": _recurrence_backward,
    },
)
