"""Triton kernels for the scan of a gated sum whose gates are given: c_t = f_t c_{t-1} + u_t.

They make one pass over f and u, in tiles and chunks as in `triton_memory_cell`, with the same
associative scan. It multiplies factors but never divides by them, so that f may be 0 or negative.

The state is float32. Sequence length and batch size are run-time values, so that new sizes need no
compilation; only a single step, as in decoding, compiles separate kernels.

Shapes: f, u and the memory cells are T x B x H; c_0 and c_n are B x H; the gradients have the
shapes of what they belong to.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops import arguments
from ..ops.scan import scan_gradients, scan_outputs
from .triton import DTYPES
from .triton_common import (
    RUN_TIME_VALUES,
    Plan,
    after,
    as_bytes,
    in_chunks,
    last_row,
    store_totals,
)

# Kernels


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def _forward(  # type: ignore[no-untyped-def]
    start_ptr, totals_ptr, f_ptr, u_ptr, padding_ptr, cells_ptr, c_n_ptr,
    T, B, length, H: tl.constexpr,
    PADDED: tl.constexpr, REVERSE: tl.constexpr, TOTALS: tl.constexpr,
    STEPS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Run one chunk of `length` steps. With TOTALS, compute only its (f, u)."""
    b, chunk = tl.program_id(0), tl.program_id(2)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    units = n < H
    start = (chunk * B + b).to(tl.int64) * H + n
    if TOTALS:
        c, kept = tl.zeros((BLOCK,), tl.float32), tl.full((BLOCK,), 1.0, tl.float32)
    else:
        c, kept = tl.load(start_ptr + start, mask=units, other=0.0), 0.0
    end = tl.minimum(chunk * length + length, T)
    for first in tl.range(chunk * length, end, STEPS, num_stages=STAGES):
        s = first + tl.arange(0, STEPS)
        t = T - 1 - s if REVERSE else s
        tb = (t * B + b).to(tl.int64)
        inside = (s < end)[:, None] & units[None, :]
        unpadded = inside
        if PADDED:
            padding = tl.load(padding_ptr + tb, mask=s < end, other=1)
            unpadded = inside & (padding == 0)[:, None]
        place = tb[:, None] * H + n[None, :]
        # where `unpadded` is False, the memory is kept
        f = tl.load(f_ptr + place, mask=unpadded, other=1.0).to(tl.float32)
        u = tl.load(u_ptr + place, mask=unpadded, other=0.0).to(tl.float32)
        f_all, u_all = tl.associative_scan((f, u), 0, after)
        cells = u_all + f_all * c[None, :]
        if TOTALS:
            kept *= last_row(f_all, STEPS)
        else:
            tl.store(cells_ptr + place, cells, mask=inside)
        c = last_row(cells, STEPS)
    if TOTALS:
        store_totals(totals_ptr, start, n, units, kept, c, H)
    else:
        if end == T:
            tl.store(c_n_ptr + b.to(tl.int64) * H + n, c, mask=units)


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def _backward(  # type: ignore[no-untyped-def]
    start_ptr, totals_ptr, f_ptr, c_0_ptr, padding_ptr, cells_ptr, dcells_ptr,
    df_ptr, du_ptr, dc_0_ptr,
    T, B, length, H: tl.constexpr,
    PADDED: tl.constexpr, REVERSE: tl.constexpr, HAS_DCELLS: tl.constexpr, TOTALS: tl.constexpr,
    STEPS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Run one chunk of steps in reverse, with dc_t = g_t + f_{t+1} dc_{t+1}.

    g_t is the gradient of c_t as an output, from `dcells`. Each tile reads f one step later than
    everything else; after the last step it is 1, as c_n is c_T. Chunks pass on dc_t.
    """
    b, chunk = tl.program_id(0), tl.program_id(2)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    units = n < H
    start = (chunk * B + b).to(tl.int64) * H + n
    if TOTALS:
        dc_next, kept = tl.zeros((BLOCK,), tl.float32), tl.full((BLOCK,), 1.0, tl.float32)
    else:
        dc_next, kept = tl.load(start_ptr + start, mask=units, other=0.0), 0.0
        c_0 = tl.load(c_0_ptr + b.to(tl.int64) * H + n, mask=units, other=0.0)
    end = tl.minimum(chunk * length + length, T)
    for first in tl.range(chunk * length, end, STEPS, num_stages=STAGES):
        k = first + tl.arange(0, STEPS)  # counted from the end of the sequence
        s = T - 1 - k
        t = T - 1 - s if REVERSE else s
        tb = (t * B + b).to(tl.int64)
        tb_next = ((t - 1 if REVERSE else t + 1) * B + b).to(tl.int64)
        inside = (k < end)[:, None] & units[None, :]
        unpadded, unpadded_next = inside, inside & (k > 0)[:, None]
        if PADDED:
            padding = tl.load(padding_ptr + tb, mask=k < end, other=1)
            unpadded = inside & (padding == 0)[:, None]
            padding_next = tl.load(padding_ptr + tb_next, mask=(k > 0) & (k < end), other=1)
            unpadded_next = inside & (padding_next == 0)[:, None]
        place = tb[:, None] * H + n[None, :]
        place_next = tb_next[:, None] * H + n[None, :]
        f_next = tl.load(f_ptr + place_next, mask=unpadded_next, other=1.0).to(tl.float32)
        g = tl.zeros((STEPS, BLOCK), tl.float32)
        if HAS_DCELLS:
            g = tl.load(dcells_ptr + place, mask=inside, other=0.0)  # also at padding
        f_all, d_all = tl.associative_scan((f_next, g), 0, after)
        dc = d_all + f_all * dc_next[None, :]
        if TOTALS:
            kept *= last_row(f_all, STEPS)
        else:
            t_prev = t + 1 if REVERSE else t - 1
            before = cells_ptr + (t_prev * B + b).to(tl.int64)[:, None] * H + n[None, :]
            c_prev = tl.load(before, mask=unpadded & (s > 0)[:, None], other=0.0)
            c_prev = tl.where((s == 0)[:, None], c_0[None, :], c_prev)
            tl.store(df_ptr + place, tl.where(unpadded, dc * c_prev, 0.0), mask=inside)
            tl.store(du_ptr + place, tl.where(unpadded, dc, 0.0), mask=inside)
        dc_next = last_row(dc, STEPS)
    if TOTALS:
        store_totals(totals_ptr, start, n, units, kept, dc_next, H)
    else:
        if end == T:
            tb = ((T - 1 if REVERSE else 0) * B + b).to(tl.int64)
            f = tl.load(f_ptr + tb * H + n, mask=units, other=1.0).to(tl.float32)
            if PADDED:
                f = tl.where(tl.load(padding_ptr + tb) == 0, f, 1.0)
            tl.store(dc_0_ptr + b.to(tl.int64) * H + n, f * dc_next, mask=units)


# Launchers


def scan(
    f: Tensor,
    u: Tensor,
    c_0: Tensor,
    padding_mask: Tensor | None,
    reverse: bool,
    plan: Plan | None = None,
) -> tuple[Tensor, Tensor]:
    """The operator `scan` of `ops.scan`."""
    given = dict(padding=padding_mask, f=f, u=u, c_0=c_0)
    arguments.check(arguments.SCAN, DTYPES, None, f, arguments.scan_sizes(f), **given)
    f, u, c_0 = f.contiguous(), u.contiguous(), c_0.contiguous()
    cells, c_n = scan_outputs(f, c_0)
    tensors = (f, u, as_bytes(padding_mask, f), cells, c_n)
    options = dict(PADDED=padding_mask is not None, REVERSE=reverse)
    in_chunks(_forward, c_0, tensors, len(f), plan, **options)
    return cells, c_n


def scan_backward(
    dcells: Tensor | None,
    dc_n: Tensor | None,
    f: Tensor,
    c_0: Tensor,
    padding_mask: Tensor | None,
    cells: Tensor,
    reverse: bool,
    plan: Plan | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The operator `scan_backward` of `ops.scan`."""
    given = dict(padding=padding_mask, f=f, c_0=c_0, cells=cells, dcells=dcells, dc_n=dc_n)
    arguments.check(arguments.SCAN, DTYPES, None, f, arguments.scan_sizes(f), **given)
    f, c_0, cells = f.contiguous(), c_0.contiguous(), cells.contiguous()
    df, du, dc_0 = scan_gradients(f, c_0)
    dc = torch.zeros_like(c_0) if dc_n is None else dc_n.contiguous()
    dcells_dense = cells if dcells is None else dcells.contiguous()
    tensors = (f, c_0, as_bytes(padding_mask, f), cells, dcells_dense, df, du, dc_0)
    options = dict(PADDED=padding_mask is not None, REVERSE=reverse, HAS_DCELLS=dcells is not None)
    in_chunks(_backward, dc, tensors, len(f), plan, **options)
    return df, du, dc_0
