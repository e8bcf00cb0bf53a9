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
from ..ops.transforms import in_transformation
from .fused import run as run  # for the registry of backends


def why_not(cell: Cell, device: torch.device, dtype: torch.dtype, projects: bool) -> str | None:
    """Why these kernels do not support this cell, device or dtype, or None if they do."""
    if not operators.has_kernels(cell):
        return f"it has kernels for the LSTM and its ablations, not for {cell.label}"
    if device.type != "cpu":
        return f"it runs on CPUs, and the layer is on {device}"
    if dtype not in kernels.DTYPES:
        return f"it computes in float32 and bfloat16, not in {dtype}"
    if in_transformation():
        return operators.NOT_TRANSFORMED
    return kernels.why_missing()


# The structs of csrc/kernels.h: sizes, then flags, then pointers to arrays. `arrays` gives the
# dimensions of each array, where R is H times the number of rows and Q is H times the number of
# hidden rows.


def _fields(sizes: str, arrays: dict[str, str]) -> list[tuple[str, Any]]:
    flags = ("cell", "is_bf16", "reverse", "threads")
    return [
        *((name, c_int64) for name in sizes),
        *((name, c_int32) for name in flags),
        *((name, c_void_p) for name in arrays),
    ]


class _GatedSum(ctypes.Structure):
    arrays: ClassVar[dict[str, str]] = {
        **dict(padding="TB", z="TBR", c_0="BH", y="TBH", c_n="BH", cells="TBH"),
        **dict(dy="TBH", dc_n="BH", dz="TBR", dc_0="BH"),
    }
    _fields_ = _fields("TBH", arrays)


class _Recurrence(ctypes.Structure):
    arrays: ClassVar[dict[str, str]] = {
        **dict(padding="TB", z="TBR", w_hh="QP", w_hr="PH", h_0="BP", c_0="BH"),
        **dict(y="TBP", h_n="BP", c_n="BH", gates="TBR", cells="TBH", states="TBP"),
        **dict(dy="TBP", dh_n="BP", dc_n="BH", dz="TBR", dh="TBP", dh_0="BP", dc_0="BH"),
    }
    _fields_ = _fields("TBHP", arrays)


# The tensors of the memory cell, which are always float32.
_MEMORY = ("c_0", "c_n", "cells", "dc_n", "dc_0")


def _call(name: str, arguments: ctypes.Structure) -> None:
    if kernels.call(name, arguments) == 1:
        raise ValueError(f"{name}: no cell {arguments.cell}")


def _struct(
    kind: Any,
    cell: int,
    like: Tensor,
    reverse: bool,
    sizes: dict[str, int],
    **values: Tensor | None,
) -> Any:
    """Fill a struct. None becomes a null pointer.

    Args:
        kind: the class of the struct.
        cell: the encoded cell.
        like: a tensor with the dtype of all tensors except the mask and the memory cell.
        reverse: run from the last time step to the first.
        sizes: the dimensions by letter.
        values: the tensors by name.

    Raises:
        ValueError: a tensor has the wrong dtype or shape, so that the kernels would access memory
            out of bounds.
    """
    if like.dtype not in kernels.DTYPES:
        raise ValueError(f"the C++ kernels take float32 and bfloat16, got {like.dtype}")
    x_rows, h_rows = _rows(cell)
    lengths = {**sizes, "R": x_rows * sizes["H"], "Q": h_rows * sizes["H"]}
    given = {}
    for name, value in values.items():
        if value is not None:
            wanted = torch.float32 if name in _MEMORY else like.dtype
            wanted = torch.bool if name == "padding" else wanted
            shape = [lengths[size] for size in kind.arrays[name]]
            given[name] = kernels.pointer(name, value, wanted, shape)
    return kind(
        cell=cell,
        is_bf16=like.dtype == torch.bfloat16,
        reverse=reverse,
        threads=torch.get_num_threads(),
        **sizes,
        **given,
    )


@cache
def _rows(cell: int) -> tuple[int, int]:
    """The number of rows of pre-activations, and of those that depend on h_{t-1}."""
    description = operators.decode(cell)
    return len(description.rows), len(description.hidden_rows)


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _gated_sum(
    z: Tensor, c_0: Tensor, padding_mask: Tensor | None, cell: int, reverse: bool, save: bool
) -> tuple[Tensor, Tensor, Tensor]:
    z, c_0, padding_mask = z.contiguous(), c_0.contiguous(), _dense(padding_mask)
    y, c_n, cells = operators.gated_sum_outputs(z, c_0, save)
    time, batch, units = y.shape
    sizes = dict(T=time, B=batch, H=units)
    tensors = dict(padding=padding_mask, z=z, c_0=c_0, y=y, c_n=c_n, cells=_made(cells))
    _call("wsum_gated_sum", _struct(_GatedSum, cell, z, reverse, sizes, **tensors))
    return y, c_n, cells


def _gated_sum_backward(
    dy: Tensor | None,
    dc_n: Tensor | None,
    z: Tensor,
    c_0: Tensor,
    padding_mask: Tensor | None,
    cells: Tensor,
    cell: int,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    dy, dc_n, z, c_0 = _dense(dy), _dense(dc_n), z.contiguous(), c_0.contiguous()
    padding_mask, cells = _dense(padding_mask), cells.contiguous()
    dz, dc_0 = operators.gated_sum_gradients(z, c_0)
    time, batch, units = cells.shape
    sizes = dict(T=time, B=batch, H=units)
    tensors = dict(padding=padding_mask, z=z, c_0=c_0, cells=cells)
    gradients = dict(dy=dy, dc_n=dc_n, dz=dz, dc_0=dc_0)
    arguments = _struct(_GatedSum, cell, z, reverse, sizes, **tensors, **gradients)
    _call("wsum_gated_sum_backward", arguments)
    return dz, dc_0


def _recurrence(
    z: Tensor,
    w_hh: Tensor,
    w_hr: Tensor | None,
    h_0: Tensor,
    c_0: Tensor | None,
    padding_mask: Tensor | None,
    cell: int,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    z, w_hh, w_hr, h_0 = z.contiguous(), w_hh.contiguous(), _dense(w_hr), h_0.contiguous()
    c_0, padding_mask = _dense(c_0), _dense(padding_mask)
    _check_memory(cell, c_0)
    outputs = operators.recurrence_outputs(z, w_hr, h_0, c_0, padding_mask, save)
    names = ("y", "h_n", "c_n", "gates", "cells", "states")
    tensors = dict(padding=padding_mask, z=z, w_hh=w_hh, w_hr=w_hr, h_0=h_0, c_0=c_0)
    tensors.update(zip(names, map(_made, outputs), strict=True))
    sizes = _recurrence_sizes(z, w_hr, h_0)
    _call("wsum_recurrence", _struct(_Recurrence, cell, z, reverse, sizes, **tensors))
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
    gates: Tensor,
    cells: Tensor,
    cell: int,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dy, dh_n, dc_n, c_0 = _dense(dy), _dense(dh_n), _dense(dc_n), _dense(c_0)
    w_hh, w_hr, padding_mask = w_hh.contiguous(), _dense(w_hr), _dense(padding_mask)
    gates, cells = gates.contiguous(), cells.contiguous()
    _check_memory(cell, c_0)
    gradients = operators.recurrence_gradients(gates, w_hr, h_0, c_0)
    tensors = dict(padding=padding_mask, w_hh=w_hh, w_hr=w_hr, gates=gates, dy=dy, dh_n=dh_n)
    if c_0 is not None:
        tensors.update(c_0=c_0, cells=cells, dc_n=dc_n)
    tensors.update(zip(("dz", "dh", "dh_0", "dc_0"), map(_made, gradients), strict=True))
    sizes = _recurrence_sizes(gates, w_hr, h_0)
    arguments = _struct(_Recurrence, cell, gates, reverse, sizes, **tensors)
    _call("wsum_recurrence_backward", arguments)
    return gradients


def _check_memory(cell: int, c_0: Tensor | None) -> None:
    if (c_0 is None) == bool(cell & operators.GATES):
        raise ValueError(f"the C++ kernels take {'a' if c_0 is None else 'no'} c_0 for this cell")


def _made(tensor: Tensor) -> Tensor | None:
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
        "recurrence": _recurrence,
        "recurrence_backward": _recurrence_backward,
    },
)
