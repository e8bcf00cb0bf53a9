"""The CPU backend: C++ kernels (ops/csrc/), built with the package and loaded on first use.

This file passes tensors to the kernels as pointers and registers the kernels for the operators.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64, c_void_p
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..cells import Cell
from ..ops import kernels, library, operators
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


# The structs of csrc/kernels.h: sizes, then flags, then pointers to arrays. `arrays` gives the
# dimensions of each array, where R is H times the number of rows, Q is H times the number of hidden
# rows, S is H times that of `saved_rows`, and V is the number of vectors.


def _fields(sizes: str, arrays: dict[str, str], code: bool = True) -> list[tuple[str, Any]]:
    flags = (*(("code",) if code else ()), "is_bf16", "reverse", "threads")
    return [
        *((name, c_int64) for name in sizes),
        *((name, c_int32) for name in flags),
        *((name, c_void_p) for name in arrays),
    ]


class _GatedSum(ctypes.Structure):
    arrays: ClassVar[dict[str, str]] = {
        **dict(padding="TB", z="TBR", v="VH", c_0="BH", y="TBH", c_n="BH", cells="TBH"),
        **dict(dy="TBH", dc_n="BH", dz="TBR", dv="BVH", dc_0="BH"),
    }
    _fields_ = _fields("TBH", arrays)


class _Scan(ctypes.Structure):
    arrays: ClassVar[dict[str, str]] = {
        **dict(padding="TB", f="TBH", u="TBH", c_0="BH", c_n="BH", cells="TBH"),
        **dict(dcells="TBH", dc_n="BH", df="TBH", du="TBH", dc_0="BH"),
    }
    _fields_ = _fields("TBH", arrays, code=False)


class _Recurrence(ctypes.Structure):
    arrays: ClassVar[dict[str, str]] = {
        **dict(padding="TB", z="TBR", w_hh="QP", b_hh="Q", w_hr="PH", h_0="BP", c_0="BH"),
        **dict(y="TBP", h_n="BP", c_n="BH", rows="TBS", cells="TBH", states="TBP"),
        **dict(dy="TBP", dh_n="BP", dc_n="BH", dz="TBR", dh="TBP", dh_0="BP", dc_0="BH"),
    }
    _fields_ = _fields("TBHP", arrays)


# The tensors of the memory cell, which are always float32, and sums in float32.
_FLOAT32 = ("c_0", "c_n", "cells", "dc_n", "dc_0", "dcells", "dv")


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
        like: a tensor with the dtype of all tensors except the mask and the memory cell.
        reverse: run from the last time step to the first.
        sizes: the dimensions by letter.
        tensors: the tensors by name. None becomes a null pointer.

    Raises:
        MemoryError: the scratch space could not be allocated.
        ValueError: a tensor has the wrong dtype or shape, so that the kernels would access memory
            out of bounds, or the library does not have this cell.
    """
    if like.dtype not in kernels.DTYPES:
        raise ValueError(
            f"the C++ kernels take float32 and bfloat16, got {like.dtype}: convert the tensors, or "
            "use `scan_reference`, or backend='reference' in a layer"
        )
    lengths = sizes if code is None else {**sizes, **_lengths(code, sizes["H"])}
    # they must live until the function has returned
    dense = {key: tensor.contiguous() for key, tensor in tensors.items() if tensor is not None}
    pointers = {}
    for key, tensor in dense.items():
        wanted = torch.float32 if key in _FLOAT32 else like.dtype
        wanted = torch.bool if key == "padding" else wanted
        shape = [lengths[size] for size in kind.arrays[key]]
        pointers[key] = kernels.pointer(key, tensor, wanted, shape)
    arguments = kind(
        **({} if code is None else {"code": code}),
        is_bf16=like.dtype == torch.bfloat16,
        reverse=reverse,
        threads=torch.get_num_threads(),
        **sizes,
        **pointers,
    )
    if kernels.call(name, arguments) == 1:
        raise ValueError(
            f"{name}: the C++ library has no cell with the code {code}, as it is of another "
            "version: install the package again (in a clone: scripts/setup.sh)"
        )


@cache
def _lengths(code: int, units: int) -> dict[str, int]:
    """The dimensions that depend on the cell, for H units."""
    cell = operators.decode(code)
    return {
        "R": len(cell.rows) * units,
        "Q": len(cell.hidden_rows) * units,
        "S": len(operators.saved_rows(cell)) * units,
        "V": len(cell.vectors),
    }


def _gated_sum(
    z: Tensor,
    v: Tensor | None,
    c_0: Tensor,
    padding_mask: Tensor | None,
    code: int,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    _check_vectors(code, v)
    y, c_n, cells = operators.gated_sum_outputs(z, c_0, padding_mask, code, save)
    time, batch, units = y.shape
    sizes = dict(T=time, B=batch, H=units)
    tensors = dict(padding=padding_mask, z=z, v=v, c_0=c_0, y=y, c_n=c_n, cells=_or_null(cells))
    _call("wsum_gated_sum", _GatedSum, code, z, reverse, sizes, **tensors)
    return y, c_n, cells


def _gated_sum_backward(
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
    _check_vectors(code, v)
    dz, dv, dc_0 = operators.gated_sum_gradients(z, v, c_0)
    time, batch, units = cells.shape
    sizes = dict(T=time, B=batch, H=units)
    parts = None if v is None else c_0.new_empty((batch, *v.shape))
    tensors = dict(padding=padding_mask, z=z, v=v, c_0=c_0, cells=cells)
    gradients = dict(dy=dy, dc_n=dc_n, dz=dz, dv=parts, dc_0=dc_0)
    name = "wsum_gated_sum_backward"
    _call(name, _GatedSum, code, z, reverse, sizes, **tensors, **gradients)
    return dz, dv if parts is None else parts.sum(0).to(z.dtype), dc_0


def _scan(
    f: Tensor, u: Tensor, c_0: Tensor, padding_mask: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    cells, c_n = scans.scan_outputs(f, c_0)
    tensors = dict(padding=padding_mask, f=f, u=u, c_0=c_0, c_n=c_n, cells=cells)
    _call("wsum_scan", _Scan, None, f, reverse, _scan_sizes(f), **tensors)
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
    name = "wsum_scan_backward"
    _call(name, _Scan, None, f, reverse, _scan_sizes(f), **tensors, **gradients)
    return df, du, dc_0


def _scan_sizes(f: Tensor) -> dict[str, int]:
    return dict(zip("TBH", f.shape, strict=True))


def _recurrence(
    z: Tensor,
    w_hh: Tensor,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    h_0: Tensor,
    c_0: Tensor | None,
    padding_mask: Tensor | None,
    code: int,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    _check_memory(code, c_0)
    outputs = operators.recurrence_outputs(z, w_hr, h_0, c_0, padding_mask, code, save)
    names = ("y", "h_n", "c_n", "rows", "cells", "states")
    tensors = dict(padding=padding_mask, z=z, w_hh=w_hh, b_hh=b_hh, w_hr=w_hr, h_0=h_0, c_0=c_0)
    tensors.update(zip(names, map(_or_null, outputs), strict=True))
    sizes = _recurrence_sizes(z, w_hr, h_0)
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
    rows: Tensor,
    cells: Tensor,
    code: int,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check_memory(code, c_0)
    gradients = operators.recurrence_gradients(rows, w_hr, h_0, c_0, code)
    tensors = dict(padding=padding_mask, w_hh=w_hh, w_hr=w_hr, rows=rows, dy=dy, dh_n=dh_n)
    if c_0 is not None:
        tensors.update(c_0=c_0, cells=cells, dc_n=dc_n)
    tensors.update(zip(("dz", "dh", "dh_0", "dc_0"), map(_or_null, gradients), strict=True))
    sizes = _recurrence_sizes(rows, w_hr, h_0)
    _call("wsum_recurrence_backward", _Recurrence, code, rows, reverse, sizes, **tensors)
    return gradients


def _check_memory(code: int, c_0: Tensor | None) -> None:
    if (c_0 is None) == operators.decode(code).has_memory:
        raise ValueError(f"the C++ kernels take {'a' if c_0 is None else 'no'} c_0 for this cell")


def _check_vectors(code: int, v: Tensor | None) -> None:
    if (v is None) == bool(operators.decode(code).vectors):
        raise ValueError(f"the C++ kernels take {'a' if v is None else 'no'} v for this cell")


def _or_null(tensor: Tensor) -> Tensor | None:
    """The tensor, or None if it is empty because the output is not needed."""
    return tensor if tensor.numel() else None


def _recurrence_sizes(z: Tensor, w_hr: Tensor | None, h_0: Tensor) -> dict[str, int]:
    features = h_0.size(1)
    return dict(T=len(z), B=len(h_0), H=features if w_hr is None else w_hr.size(1), P=features)


library.implement(
    "CPU",
    {
        "gated_sum": _gated_sum,
        "gated_sum_backward": _gated_sum_backward,
        "scan": _scan,
        "scan_backward": _scan_backward,
        "recurrence": _recurrence,
        "recurrence_backward": _recurrence_backward,
    },
)
