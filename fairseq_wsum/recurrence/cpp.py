"""The CPU backend: C++ kernels (csrc/), built with the package and loaded on first use."""

from __future__ import annotations

import ctypes

import torch

from .. import kernels
from ..cells import Cell
from ..transforms import in_transformation
from . import operators, problem


def why_not(cell: Cell, device: torch.device, dtype: torch.dtype, projects: bool) -> str | None:
    """Why these kernels do not support this cell, device or dtype, or None if they do."""
    if not problem.has_kernels(cell, "cpu") and not cell.is_gated_sum:
        return f"it has kernels for gated sums and the package's own cells, not for {cell.label}"
    if device.type != "cpu":
        return f"it runs on CPUs, and the layer is on {device}"
    if dtype not in kernels.DTYPES:
        return f"it computes in float32 and bfloat16, not in {dtype}"
    if in_transformation():
        return problem.NOT_TRANSFORMED
    return kernels.why_missing()


class _MemoryCell(ctypes.Structure):
    sizes = "T B H rows vectors"
    _fields_ = kernels.fields(sizes, "cell_id is_bf16 reverse threads", problem.MEMORY_CELL)


class _Recurrence(ctypes.Structure):
    sizes = "T B H P rows hidden_rows saved_rows"
    _fields_ = kernels.fields(sizes, "cell_id is_bf16 reverse threads", problem.RECURRENCE)


def launch(given: problem.Problem) -> None:
    """Call the library.

    Raises:
        MemoryError: the scratch space could not be allocated.
        ValueError: a tensor does not fit the others.
    """
    given.check(kernels.DTYPES)
    kind = _MemoryCell if given.name == "memory_cell" else _Recurrence
    sizes = {**given.sizes, **problem.counts_of_cell(given.cell_id)}
    numbers = {name: sizes[name] for name in kind.sizes.split()}
    numbers.update(cell_id=given.cell_id, reverse=given.reverse)
    result = kernels.call(given.name, kind, given.like, numbers, given.tensors, given.backward)
    assert result == 0, f"csrc/instantiate.h has no cell {given.cell_id} with {numbers}"


operators.implement("CPU", launch)
