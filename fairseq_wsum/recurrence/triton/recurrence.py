"""The operator `recurrence` on GPUs: the launches of its Triton kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...cells.rows import adjacent_hidden
from .. import arguments, operators
from . import DTYPES
from . import recurrence_kernels as kernels
from .memory_cell import as_bytes
from .tiling import Tiling, processors_of, tiling_for


def recurrence(
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
    tiling: Tiling | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The operator `recurrence` of `operators`, without a projection."""
    assert w_hr is None  # see `triton.why_not`
    sizes = arguments.recurrence_sizes(z, w_hr, h_0)
    given = dict(padding=padding_mask, z=z, w_hh=w_hh, b_inner=b_inner, h_0=h_0, c_0=c_0)
    arguments.check(arguments.RECURRENCE, DTYPES, cell_id, z, sizes, **given)
    z, w_hh = z.contiguous(), w_hh.contiguous()
    outputs = operators.recurrence_outputs(z, w_hr, h_0, c_0, padding_mask, cell_id, save)
    y, h_n, c_n, saved, cells, states = outputs
    time, batch, units = y.shape
    h = h_0.new_empty((2, batch, units))
    h[0] = h_0
    # the kernel updates c_n in place; without a memory cell, it only copies what is there
    memory = h_0.new_empty((batch, units), dtype=torch.float32) if c_0 is None else c_n.copy_(c_0)
    nothing = z  # a placeholder for arguments that the kernel does not access
    tensors = (
        *(z, w_hh, h, memory, as_bytes(padding_mask, z), y),
        *(tensor if tensor.numel() else nothing for tensor in (saved, cells, states)),
    )
    options = _rows_of_z(cell_id) | _rows_of_w_hh(cell_id)
    options |= dict(PADDED=padding_mask is not None, REVERSE=reverse, SAVE=save)
    _launch(kernels.forward, tensors, time, (time, batch, units), options, tiling)
    h_n.copy_(h[time % 2])
    return outputs


def recurrence_backward(
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
    tiling: Tiling | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The operator `recurrence_backward` of `operators`, without a projection."""
    assert w_hr is None  # see `triton.why_not`
    sizes = arguments.recurrence_sizes(saved, w_hr, h_0)
    given = dict(padding=padding_mask, w_hh=w_hh, h_0=h_0, c_0=c_0, saved=saved, dy=dy, dh_n=dh_n)
    if c_0 is not None:
        given |= dict(cells=cells, dc_n=dc_n)
    arguments.check(arguments.RECURRENCE, DTYPES, cell_id, saved, sizes, **given)
    gradients = operators.recurrence_gradients(saved, w_hr, h_0, c_0, cell_id)
    dz, _, dh_0, dc_0 = gradients
    (batch, units), time = h_0.shape, saved.size(0)
    # Separate allocations: Triton recompiles for an address that is not a multiple of 16.
    dh = _filled(h_0.new_empty((batch, units), dtype=torch.float32), dh_n)
    dc = torch.empty_like(dh) if c_0 is None else _filled(dc_0, dc_n)
    saved, cells = saved.contiguous(), cells.contiguous()
    tensors = (
        *(w_hh.contiguous(), saved if c_0 is None else c_0.contiguous()),
        *(as_bytes(padding_mask, saved), saved, cells if cells.numel() else saved),
        *(saved if dy is None else dy.contiguous(), dh, dc, dz),
    )
    options = _rows_of_z(cell_id) | _ranges_of_hidden_rows(cell_id)
    options |= dict(PADDED=padding_mask is not None, REVERSE=reverse, HAS_DY=dy is not None)
    _launch(kernels.backward, tensors, time + 1, (time, batch, units), options, tiling)
    dh_0.copy_(dh)
    return gradients


def _filled(new: Tensor, values: Tensor | None) -> Tensor:
    """`new`, with these values or 0."""
    return new.zero_() if values is None else new.copy_(values)


def _launch(
    kernel: Any,
    tensors: tuple[Tensor, ...],
    steps: int,
    sizes: tuple[int, int, int],
    options: dict[str, Any],
    tiling: Tiling | None,
) -> None:
    """Run all steps in one launch, or with one launch per step."""
    time, batch, units = sizes
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
    grid = (math.ceil(batch / tiling.sequences), math.ceil(units / tiling.units))
    run: Callable[..., Any] = kernel[grid]
    with torch.cuda.device_of(tensors[0]):
        if tiling.together:
            run(*tensors, counter, time, batch, 0, steps, **options, launch_cooperative_grid=True)
            return
        for step in range(steps):
            run(*tensors, counter, time, batch, step, step + 1, **options)


def _rows_of_z(cell_id: int) -> dict[str, Any]:
    """The number of rows of z, and the index of each, or -1 if the cell does not have it."""
    cell = operators.decode(cell_id)
    places = {f"X_{row.upper()}": _place(cell.rows, row) for row in "ifco"}
    return {"R": len(cell.rows), "SRNN": "c" in cell.hidden_rows, **places}


def _rows_of_w_hh(cell_id: int) -> dict[str, int]:
    """The index of each row in w_hh, or -1 if it is not a hidden row."""
    rows = operators.decode(cell_id).hidden_rows
    return {f"H_{row.upper()}": _place(rows, row) for row in "ifco"}


def _place(rows: tuple[str, ...], row: str) -> int:
    return rows.index(row) if row in rows else -1


def _ranges_of_hidden_rows(cell_id: int) -> dict[str, int]:
    """Ranges of hidden rows that are adjacent in z: the index of the first row, and the number.

    There are at most two ranges: with recurrent gates, w_hh lacks at most the content layer, which
    lies between the gates.
    """
    (a_1, b_1), (a_2, b_2) = (*adjacent_hidden(operators.decode(cell_id)), (0, 0))[:2]
    return dict(X_1=a_1, ROWS_1=b_1 - a_1, X_2=a_2, ROWS_2=b_2 - a_2)
