"""The check of an operator's tensors, which every kernel needs before it accesses memory.

The kernels call it. The functions for tracing do not, because comparing symbolic sizes would
restrict the traced program to some of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from . import operators

# The dimensions of each tensor, by the letters of `operators`. `rows`, `hidden_rows` and
# `saved_rows` stand for so many rows of H elements. The structs of csrc/kernels.h have the same
# names in this order.
MEMORY_CELL = {
    **dict(padding="T B", z="T B rows", u="T B H", v="vectors H", c_0="B H", y="T B H"),
    **dict(c_n="B H", cells="T B H", dy="T B H", dc_n="B H", dz="T B rows", du="T B H"),
    **dict(dv="B vectors H", dc_0="B H"),
}
RECURRENCE = {
    **dict(padding="T B", z="T B rows", w_hh="hidden_rows P", b_inner="hidden_rows", w_hr="P H"),
    **dict(h_0="B P", c_0="B H", y="T B P", h_n="B P", c_n="B H", saved="T B saved_rows"),
    **dict(cells="T B H", states="T B P", dy="T B P", dh_n="B P", dc_n="B H", dz="T B rows"),
    **dict(dh="T B P", dh_0="B P", dc_0="B H"),
}

# The tensors that are always float32: vectors, those of the memory cell, and sums.
_FLOAT32 = ("v", "c_0", "c_n", "cells", "dc_n", "dc_0", "dv")
# The output of the scan is the memory cell.
_FLOAT32_IN_SCAN = (*_FLOAT32, "y", "dy")


def check(
    arrays: Mapping[str, str],
    dtypes: Sequence[torch.dtype],
    cell_id: int,
    like: Tensor,
    sizes: Mapping[str, int],
    **tensors: Tensor | None,
) -> None:
    """Check the tensors of an operator.

    Args:
        arrays: the dimensions of its tensors by name.
        dtypes: the dtypes that the kernels take.
        cell_id: that of the cell (`operators.encode`).
        like: a tensor with the dtype of all tensors except the mask and those in float32.
        sizes: the dimensions by letter, without those that follow from the cell.
        tensors: the tensors by name; None for one that is not given.

    Raises:
        ValueError: a tensor has the wrong dtype, shape or device, so that the kernels would access
            memory out of bounds, or there is no time step.
    """
    if like.dtype not in dtypes:
        *others, last = (str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise ValueError(
            f"the kernels take {', '.join(others)} and {last}, got {like.dtype}: convert the "
            "tensors, or use `scan_reference`, or backend='reference' in a layer"
        )
    if sizes["T"] == 0:
        raise ValueError("the kernels take at least one time step, got none")
    cell, counts = operators.decode(cell_id), counts_of_cell(cell_id)
    assert ("c_0" not in tensors) or (tensors["c_0"] is not None) == cell.has_memory
    assert ("v" not in tensors) or (tensors["v"] is not None) == bool(cell.vectors)
    is_scan = type(cell) is operators.Scan
    assert ("u" not in tensors) or (tensors["u"] is not None) == is_scan
    in_float32 = _FLOAT32_IN_SCAN if is_scan else _FLOAT32
    rows = {name: n * sizes["H"] for name, n in counts.items() if name != "vectors"}
    sizes = {**sizes, **counts, **rows}
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        dtype = torch.float32 if name in in_float32 else like.dtype
        dtype = torch.bool if name == "padding" else dtype
        shape = tuple(sizes[letter] for letter in arrays[name].split())
        found = (tuple(tensor.shape), tensor.dtype, tensor.device)
        if found != (shape, dtype, like.device):
            wanted, got = (
                "{} in {} on {}".format(*x) for x in ((shape, dtype, like.device), found)
            )
            raise ValueError(f"the kernels take {name} of size {wanted}, got {got}")


@cache
def counts_of_cell(cell_id: int) -> Mapping[str, int]:
    """How many rows, hidden rows, saved rows and vectors a cell has."""
    cell = operators.decode(cell_id)
    return dict(
        rows=len(cell.rows),
        hidden_rows=len(cell.hidden_rows),
        saved_rows=len(operators.saved_rows(cell)),
        vectors=len(cell.vectors),
    )


# The dimensions of a call, from the tensors that every call has. The check compares the others.


def memory_cell_sizes(z: Tensor, c_0: Tensor) -> dict[str, int]:
    """T, B and H."""
    (time, _, _), (batch, units) = z.shape, c_0.shape
    return dict(T=time, B=batch, H=units)


def recurrence_sizes(z: Tensor, w_hr: Tensor | None, h_0: Tensor) -> dict[str, int]:
    """T, B, H and P, from `z` or, in the backward pass, `saved`."""
    (time, _, _), (batch, features) = z.shape, h_0.shape
    return dict(T=time, B=batch, H=features if w_hr is None else w_hr.size(1), P=features)
