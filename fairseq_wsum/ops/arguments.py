"""The check of an operator's tensors, which every kernel needs before it accesses memory.

The kernels call it, and the functions for tracing do not, because comparing symbolic sizes would
restrict the traced program to some of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from . import operators

# The dimensions of each tensor, by the letters of `operators`, where R, Q and S stand for R*H, Q*H
# and S*H. The structs of csrc/kernels.h have the same names in this order.
MEMORY_CELL = {
    **dict(padding="TB", z="TBR", v="KH", c_0="BH", y="TBH", c_n="BH", cells="TBH"),
    **dict(dy="TBH", dc_n="BH", dz="TBR", dv="BKH", dc_0="BH"),
}
SCAN = {
    **dict(padding="TB", f="TBH", u="TBH", c_0="BH", c_n="BH", cells="TBH"),
    **dict(dcells="TBH", dc_n="BH", df="TBH", du="TBH", dc_0="BH"),
}
RECURRENCE = {
    **dict(padding="TB", z="TBR", w_hh="QP", b_inner="Q", w_hr="PH", h_0="BP", c_0="BH"),
    **dict(y="TBP", h_n="BP", c_n="BH", saved="TBS", cells="TBH", states="TBP"),
    **dict(dy="TBP", dh_n="BP", dc_n="BH", dz="TBR", dh="TBP", dh_0="BP", dc_0="BH"),
}

# The tensors that are always float32: vectors, those of the memory cell, and sums.
_FLOAT32 = ("v", "c_0", "c_n", "cells", "dc_n", "dc_0", "dcells", "dv")


def check(
    arrays: Mapping[str, str],
    dtypes: Sequence[torch.dtype],
    code: int | None,
    like: Tensor,
    sizes: Mapping[str, int],
    **tensors: Tensor | None,
) -> None:
    """Check the tensors of an operator.

    Args:
        arrays: the dimensions of its tensors by name.
        dtypes: the dtypes that the kernels take.
        code: that of the cell (`operators.encode`); None for the scan.
        like: a tensor with the dtype of all tensors except the mask and those in float32.
        sizes: the dimensions by letter, without those that follow from the cell.
        tensors: the tensors by name; None for one that is not given.

    Raises:
        ValueError: a tensor has the wrong dtype, shape or device, so that the kernels would access
            memory out of bounds; there is no time step; or the cell has no use for `v`, `c_0` or
            `b_inner`, or needs `v` or `c_0`.
    """
    if like.dtype not in dtypes:
        *others, last = (str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise ValueError(
            f"the kernels take {', '.join(others)} and {last}, got {like.dtype}: convert the "
            "tensors, or use `scan_reference`, or backend='reference' in a layer"
        )
    if sizes["T"] == 0:
        raise ValueError("the kernels take at least one time step, got none")
    if code is not None:
        numbers = numbers_of_cell(code)
        rows = {letter: numbers[letter] * sizes["H"] for letter in "RQS"}
        sizes = {**sizes, **rows, "K": numbers["K"]}
        cell = operators.decode(code)
        for name, needed in (("c_0", cell.has_memory), ("v", bool(cell.vectors))):
            if name in tensors and (tensors[name] is not None) != needed:
                raise ValueError(f"the kernels take {'a' if needed else 'no'} {name} for this cell")
        if tensors.get("b_inner") is not None and not cell.inner_bias_rows:
            raise ValueError("the kernels take no b_inner for this cell: add it to z")
    for name, tensor in tensors.items():
        if tensor is not None:
            dtype = torch.float32 if name in _FLOAT32 else like.dtype
            dtype = torch.bool if name == "padding" else dtype
            if tensor.device != like.device:
                raise ValueError(f"the kernels take {name} on {like.device}, got {tensor.device}")
            expect(name, tensor, dtype, [sizes[letter] for letter in arrays[name]])


def expect(name: str, tensor: Tensor, dtype: torch.dtype, shape: Sequence[int]) -> None:
    """Check one tensor.

    Raises:
        ValueError: it has another dtype or shape.
    """
    if tensor.dtype != dtype:
        raise ValueError(f"the kernels take {name} in {dtype}, got {tensor.dtype}")
    if tensor.shape != tuple(shape):
        got = tuple(tensor.shape)
        raise ValueError(f"the kernels take {name} of size {tuple(shape)}, got {got}")


@cache
def numbers_of_cell(code: int) -> Mapping[str, int]:
    """R, Q, S and K of a cell."""
    cell = operators.decode(code)
    saved = operators.saved_rows(cell)
    return dict(R=len(cell.rows), Q=len(cell.hidden_rows), S=len(saved), K=len(cell.vectors))


# The dimensions of a call, from the tensors that every call has. The check compares the others.


def scan_sizes(f: Tensor) -> dict[str, int]:
    """T, B and H."""
    time, batch, units = _shape("f", f, 3)
    return dict(T=time, B=batch, H=units)


def memory_cell_sizes(z: Tensor, c_0: Tensor) -> dict[str, int]:
    """T, B and H."""
    (time, _, _), (batch, units) = _shape("z", z, 3), _shape("c_0", c_0, 2)
    return dict(T=time, B=batch, H=units)


def recurrence_sizes(z: Tensor, w_hr: Tensor | None, h_0: Tensor) -> dict[str, int]:
    """T, B, H and P, from `z` or, in the backward pass, `saved`."""
    (time, _, _), (batch, features) = _shape("z or saved", z, 3), _shape("h_0", h_0, 2)
    units = features if w_hr is None else _shape("w_hr", w_hr, 2)[1]
    return dict(T=time, B=batch, H=units, P=features)


def _shape(name: str, tensor: Tensor, dimensions: int) -> torch.Size:
    if tensor.dim() != dimensions:
        got = tuple(tensor.shape)
        raise ValueError(f"the kernels take {name} with {dimensions} dimensions, got size {got}")
    return tensor.shape
