"""Triton kernels for the gated sums among the LSTM's ablations, and single steps of the others.

Other gated sums take `triton_scan`.

They make one pass over the pre-activations. The only connection between time steps is the memory
cell, c_t = u_t + f_t c_{t-1} with u_t = i_t c~_t. Each program owns a tile of units of one sequence
and handles STEPS time steps at a time. It loads them all at once, so that many loads are in flight,
and combines them with an associative scan:

    (f', u') after (f, u)  is  (f f', u' + f' u).

With many units and sequences, each program runs through the whole sequence. With few units and
sequences and a long sequence, time is divided into chunks. A first pass computes (f, u) of each
chunk, a second pass the memory cell at the chunk boundaries, and a third pass runs all chunks in
parallel.

The state is float32. Sequence length and batch size are run-time values, so that new sizes need no
compilation; only a single step, as in decoding, compiles separate kernels.

Shapes: z is T x B x R*H, with the rows of the cell in the order i f c o; all other tensors are
T x B x H or B x H.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops import arguments, operators
from .triton import DTYPES
from .triton_common import (
    RUN_TIME_VALUES,
    Plan,
    after,
    as_bytes,
    check_cell,
    in_chunks,
    last_row,
    sigmoid,
    store_totals,
    tanh,
)

# Kernels


@triton.jit
def _forget_gate(z, H: tl.constexpr, unpadded, COUPLED: tl.constexpr):  # type: ignore[no-untyped-def]
    if COUPLED:
        f = 1.0 - sigmoid(tl.load(z, mask=unpadded, other=0.0).to(tl.float32))
    else:
        f = sigmoid(tl.load(z + H, mask=unpadded, other=0.0).to(tl.float32))
    return tl.where(unpadded, f, 1.0)


@triton.jit
def _gates(z, H: tl.constexpr, unpadded, COUPLED: tl.constexpr, SRNN: tl.constexpr):  # type: ignore[no-untyped-def]
    """Input gate, forget gate and content layer. Where `unpadded` is False, the memory is kept."""
    i = sigmoid(tl.load(z, mask=unpadded, other=0.0).to(tl.float32))
    content = tl.load(z + (2 - COUPLED) * H, mask=unpadded, other=0.0).to(tl.float32)
    if SRNN:
        content = tanh(content)
    return i, _forget_gate(z, H, unpadded, COUPLED), content


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def _forward(  # type: ignore[no-untyped-def]
    start_ptr, totals_ptr, z_ptr, padding_ptr, y_ptr, c_n_ptr, cells_ptr,
    T, B, length, H: tl.constexpr,
    PADDED: tl.constexpr, COUPLED: tl.constexpr, OUTPUT_GATE: tl.constexpr, SRNN: tl.constexpr,
    REVERSE: tl.constexpr, SAVE: tl.constexpr, TOTALS: tl.constexpr,
    STEPS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Run one chunk of `length` steps. With TOTALS, compute only its (f, u)."""
    b, chunk = tl.program_id(0), tl.program_id(2)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    units = n < H
    R: tl.constexpr = 3 - COUPLED + OUTPUT_GATE
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
        z = z_ptr + tb[:, None] * (R * H) + n[None, :]
        i, f, content = _gates(z, H, unpadded, COUPLED, SRNN)
        f_all, u_all = tl.associative_scan((f, i * content), 0, after)
        cells = u_all + f_all * c[None, :]
        if TOTALS:
            kept *= last_row(f_all, STEPS)
        else:
            h = tanh(cells)
            if OUTPUT_GATE:
                h *= sigmoid(tl.load(z + (R - 1) * H, mask=unpadded, other=0.0).to(tl.float32))
            place = tb[:, None] * H + n[None, :]
            tl.store(y_ptr + place, tl.where(unpadded, h, 0.0), mask=inside)
            if SAVE:
                tl.store(cells_ptr + place, cells, mask=inside)
        c = last_row(cells, STEPS)
    if TOTALS:
        store_totals(totals_ptr, start, n, units, kept, c, H)
    else:
        if end == T:
            tl.store(c_n_ptr + b.to(tl.int64) * H + n, c, mask=units)


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def _backward(  # type: ignore[no-untyped-def]
    start_ptr, totals_ptr, z_ptr, c_0_ptr, padding_ptr, cells_ptr, dy_ptr, dz_ptr, dc_0_ptr,
    T, B, length, H: tl.constexpr,
    PADDED: tl.constexpr, COUPLED: tl.constexpr, OUTPUT_GATE: tl.constexpr, SRNN: tl.constexpr,
    REVERSE: tl.constexpr, HAS_DY: tl.constexpr, TOTALS: tl.constexpr,
    STEPS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Run one chunk of steps in reverse, with dc_t = g_t + f_{t+1} dc_{t+1}.

    Chunks pass on the gradient of the memory cell before a step, f_t dc_t.
    """
    b, chunk = tl.program_id(0), tl.program_id(2)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    units = n < H
    R: tl.constexpr = 3 - COUPLED + OUTPUT_GATE
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
        t_prev = t + 1 if REVERSE else t - 1
        tb = (t * B + b).to(tl.int64)
        inside = (k < end)[:, None] & units[None, :]
        unpadded = inside
        if PADDED:
            padding = tl.load(padding_ptr + tb, mask=k < end, other=1)
            unpadded = inside & (padding == 0)[:, None]
        place = tb[:, None] * H + n[None, :]
        z = z_ptr + tb[:, None] * (R * H) + n[None, :]
        i, f, content = _gates(z, H, unpadded, COUPLED, SRNN)
        tanh_c = tanh(tl.load(cells_ptr + place, mask=unpadded, other=0.0))
        dh = tl.zeros((STEPS, BLOCK), tl.float32)
        if HAS_DY:
            dh = tl.load(dy_ptr + place, mask=unpadded, other=0.0).to(tl.float32)
        g = dh * (1.0 - tanh_c * tanh_c)
        dz_o = dh
        if OUTPUT_GATE:
            o = sigmoid(tl.load(z + (R - 1) * H, mask=unpadded, other=0.0).to(tl.float32))
            g *= o
            dz_o = dh * tanh_c * o * (1.0 - o)
        if TOTALS:
            # e_t = f_t dc_t = f_t g_t + f_t e_{t+1}
            f_all, e_all = tl.associative_scan((f, f * g), 0, after)
            kept *= last_row(f_all, STEPS)
            dc_next = last_row(e_all + f_all * dc_next[None, :], STEPS)
        else:
            # An exclusive scan, which gives e_{t+1}: scan the values shifted by one step. The rows
            # after the last step hold its e_t.
            shifted = (k > first) & (k <= end)
            later = shifted[:, None] & units[None, :]
            tb_next = ((t - 1 if REVERSE else t + 1) * B + b).to(tl.int64)
            live_next = later
            if PADDED:
                padding_next = tl.load(padding_ptr + tb_next, mask=shifted, other=1)
                live_next = later & (padding_next == 0)[:, None]
            z_next = z_ptr + tb_next[:, None] * (R * H) + n[None, :]
            f_next = _forget_gate(z_next, H, live_next, COUPLED)
            f_before, d_all = tl.associative_scan((f_next, g), 0, after)
            dc = d_all + f_before * dc_next[None, :]
            before = cells_ptr + (t_prev * B + b).to(tl.int64)[:, None] * H + n[None, :]
            c_prev = tl.load(before, mask=unpadded & (s > 0)[:, None], other=0.0)
            c_prev = tl.where((s == 0)[:, None], c_0[None, :], c_prev)
            dz = dz_ptr + tb[:, None] * (R * H) + n[None, :]
            slope = dc * i * (1.0 - i)
            if COUPLED:
                tl.store(dz, tl.where(unpadded, slope * (content - c_prev), 0.0), mask=inside)
            else:
                tl.store(dz, tl.where(unpadded, slope * content, 0.0), mask=inside)
                dz_f = dc * c_prev * f * (1.0 - f)
                tl.store(dz + H, tl.where(unpadded, dz_f, 0.0), mask=inside)
            dz_c = dc * i
            if SRNN:
                dz_c *= 1.0 - content * content
            tl.store(dz + (2 - COUPLED) * H, tl.where(unpadded, dz_c, 0.0), mask=inside)
            if OUTPUT_GATE:
                tl.store(dz + (R - 1) * H, tl.where(unpadded, dz_o, 0.0), mask=inside)
            dc_next = last_row(f * dc, STEPS)
    if TOTALS:
        store_totals(totals_ptr, start, n, units, kept, dc_next, H)
    else:
        if end == T:
            tl.store(dc_0_ptr + b.to(tl.int64) * H + n, dc_next, mask=units)


# Launchers


def memory_cell(
    z: Tensor,
    v: Tensor | None,
    c_0: Tensor,
    padding_mask: Tensor | None,
    code: int,
    reverse: bool,
    save: bool,
    plan: Plan | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The operator `memory_cell` of `operators`, for the LSTM and its ablations."""
    check_cell(code)
    sizes = arguments.memory_cell_sizes(z, c_0)
    given = dict(padding=padding_mask, z=z, v=v, c_0=c_0)
    arguments.check(arguments.MEMORY_CELL, DTYPES, code, z, sizes, **given)
    z, c_0 = z.contiguous(), c_0.contiguous()
    y, c_n, cells = operators.memory_cell_outputs(z, c_0, padding_mask, code, save)
    tensors = (z, as_bytes(padding_mask, z), y, c_n, cells)
    options = _options(code, padding_mask, reverse)
    in_chunks(_forward, c_0, tensors, len(z), plan, **options, SAVE=save)
    return y, c_n, cells


def memory_cell_backward(
    dy: Tensor | None,
    dc_n: Tensor | None,
    z: Tensor,
    v: Tensor | None,
    c_0: Tensor,
    padding_mask: Tensor | None,
    cells: Tensor,
    code: int,
    reverse: bool,
    plan: Plan | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The operator `memory_cell_backward` of `operators`, for the LSTM and its ablations."""
    check_cell(code)
    sizes = arguments.memory_cell_sizes(z, c_0)
    given = dict(padding=padding_mask, z=z, v=v, c_0=c_0, cells=cells, dy=dy, dc_n=dc_n)
    arguments.check(arguments.MEMORY_CELL, DTYPES, code, z, sizes, **given)
    z, c_0, cells = z.contiguous(), c_0.contiguous(), cells.contiguous()
    dz, dv, dc_0 = operators.memory_cell_gradients(z, v, c_0)
    dc = torch.zeros_like(c_0) if dc_n is None else dc_n.contiguous()
    dy_dense = z if dy is None else dy.contiguous()
    tensors = (z, c_0, as_bytes(padding_mask, z), cells, dy_dense, dz, dc_0)
    options = _options(code, padding_mask, reverse)
    in_chunks(_backward, dc, tensors, len(z), plan, **options, HAS_DY=dy is not None)
    return dz, dv, dc_0


def _options(code: int, padding_mask: Tensor | None, reverse: bool) -> dict[str, Any]:
    return dict(
        PADDED=padding_mask is not None,
        COUPLED=bool(code & operators.COUPLED),
        OUTPUT_GATE=bool(code & operators.OUTPUT_GATE),
        SRNN=bool(code & operators.SRNN),
        REVERSE=reverse,
    )
