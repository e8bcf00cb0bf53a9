"""The operator `recurrence` on GPUs: the launches of its Triton kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor

from ...cells.rows import adjacent_hidden
from ..problem import Problem, decode
from . import recurrence_kernels as kernels
from .memory_cell import dense, either
from .tiling import Tiling, processors_of, tiling_for


def launch(given: Problem, tiling: Tiling | None = None) -> None:
    """Run `recurrence` without a projection. See `operators` and `_launch`."""
    t = dense(given)
    assert t["w_hr"] is None  # see `triton.why_not`
    options = _rows_of_z(given.cell_id)
    options |= dict(PADDED=t["padding"] is not None, REVERSE=given.reverse)
    (_backward if given.backward else _forward)(given, t, options, tiling)


def _forward(
    given: Problem, t: dict[str, Any], options: dict[str, Any], tiling: Tiling | None
) -> None:
    z, h_0, time = t["z"], t["h_0"], given.sizes["T"]
    h = h_0.new_empty((2, *h_0.shape))
    h[0] = h_0
    # the kernel updates c_n in place; without a memory cell, it only copies what is there
    memory = torch.empty_like(h_0, dtype=torch.float32)
    if t["c_0"] is not None:
        memory = t["c_n"].copy_(t["c_0"])
    tensors: tuple[Tensor, ...] = (z, t["w_hh"], h, memory, either(t["padding"], z), t["y"])
    tensors += tuple(either(t[name], z) for name in ("saved", "cells", "states"))
    options |= _places("H", decode(given.cell_id).hidden_rows)
    options["SAVE"] = t["saved"] is not None or t["states"] is not None
    _launch(kernels.forward, tensors, time, given, options, tiling)
    t["h_n"].copy_(h[time % 2])


def _backward(
    given: Problem, t: dict[str, Any], options: dict[str, Any], tiling: Tiling | None
) -> None:
    saved = t["saved"]
    # Separate allocations: Triton recompiles for an address that is not a multiple of 16.
    dh = _filled(torch.empty_like(t["h_0"], dtype=torch.float32), t["dh_n"])
    has_memory = t["c_0"] is not None
    dc = _filled(t["dc_0"], t["dc_n"]) if has_memory else torch.empty_like(dh)
    c_0, padding, dy = (either(t[name], saved) for name in ("c_0", "padding", "dy"))
    cells = t["cells"] if has_memory else saved
    tensors = (t["w_hh"], c_0, padding, saved, cells, dy, dh, dc, t["dz"])
    options |= _ranges_of_hidden_rows(given.cell_id) | dict(HAS_DY=t["dy"] is not None)
    _launch(kernels.backward, tensors, given.sizes["T"] + 1, given, options, tiling)
    t["dh_0"].copy_(dh)


def _filled(new: Tensor, values: Tensor | None) -> Tensor:
    """`new`, with these values or 0."""
    return new.zero_() if values is None else new.copy_(values)


def _launch(
    kernel: Any,
    tensors: tuple[Tensor, ...],
    steps: int,
    given: Problem,
    options: dict[str, Any],
    tiling: Tiling | None,
) -> None:
    """Run all steps in one launch, or with one launch per step."""
    time, batch, units = (given.sizes[letter] for letter in "TBH")
    if batch == 0:
        return
    device = tensors[0].device
    tiling = tiling or tiling_for(batch, units, tensors[0].dtype, processors_of(device))
    counter = torch.zeros(1, dtype=torch.int32, device=device)
    options |= dict(H=units, BM=tiling.sequences, BN=tiling.units, BK=tiling.inner)
    options["num_warps"] = tiling.warps
    # full float32, like torch's matrix products by default. torch.backends.cuda.matmul.allow_tf32,
    # which changes torch's, is not read.
    options["PRECISION"] = "ieee"
    grid = (triton.cdiv(batch, tiling.sequences), triton.cdiv(units, tiling.units))
    run: Callable[..., Any] = kernel[grid]
    with torch.cuda.device_of(tensors[0]):
        if tiling.together:
            run(*tensors, counter, time, batch, 0, steps, **options, launch_cooperative_grid=True)
            return
        for step in range(steps):
            run(*tensors, counter, time, batch, step, step + 1, **options)


def _rows_of_z(cell_id: int) -> dict[str, Any]:
    """The number of rows of z, and the index of each, or -1 if the cell does not have it."""
    cell = decode(cell_id)
    return {"R": len(cell.rows), "SRNN": "c" in cell.hidden_rows, **_places("X", cell.rows)}


def _places(letter: str, rows: tuple[str, ...]) -> dict[str, int]:
    """The index of each row of an LSTM in `rows`, or -1 if it is not there."""
    return {f"{letter}_{row.upper()}": rows.index(row) if row in rows else -1 for row in "ifco"}


def _ranges_of_hidden_rows(cell_id: int) -> dict[str, int]:
    """Ranges of hidden rows that are adjacent in z: the index of the first row, and the number.

    There are at most two ranges: with recurrent gates, w_hh lacks at most the content layer, which
    lies between the gates.
    """
    (a_1, b_1), (a_2, b_2) = (*adjacent_hidden(decode(cell_id)), (0, 0))[:2]
    return dict(X_1=a_1, ROWS_1=b_1 - a_1, X_2=a_2, ROWS_2=b_2 - a_2)
