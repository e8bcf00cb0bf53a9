"""Triton kernels of the operator `memory_cell`: gated sums, their scan, and single steps of LSTMs.

They make one pass over the pre-activations. The only connection between time steps is the memory
cell, c_t = f_t c_{t-1} + u_t. Each program owns a tile of units of one sequence and handles STEPS
time steps at a time. It loads them all at once, so that many loads are in flight, and combines them
with an associative scan:

    (f', u') after (f, u)  is  (f f', u' + f' u).

It multiplies factors but never divides by them, so that f may be 0 or negative.

With many units and sequences, each program runs through the whole sequence. With few units and
sequences and a long sequence, time is divided into chunks. A first pass computes (f, u) of each
chunk, a second pass the memory cell at the chunk boundaries, and a third pass runs all chunks in
parallel.

The state is float32. Sequence length and batch size are run-time values, so that new sizes need no
compilation; only a single step, as in decoding, and division into chunks compile separate kernels.

The equations of a cell are arguments of the kernels: see `triton.cells`.

Shapes: z is T x B x R*H, with R rows; all other tensors are T x B x H or B x H.
"""

# Triton gives the arguments of its functions their types.
# mypy: allow-untyped-defs

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..problem import Problem, Scan, decode
from .cells import EQUATIONS, load

# Arguments that Triton must not specialise on, so that new values need no compilation. The number
# of units is a compile-time constant instead, because Triton derives the width of vectorised
# accesses from it.
RUN_TIME_VALUES = ("T", "B", "length", "chunks")

# Kernels


@triton.jit
def _after(f, u, f_next, u_next):
    """Join c -> u + f c and the step after it, for an associative scan."""
    return f * f_next, u_next + f_next * u


@triton.jit
def _last_row(values, STEPS: tl.constexpr):
    """The last of STEPS rows: STEPS x BLOCK -> BLOCK."""
    rows = tl.arange(0, STEPS)[:, None]
    return tl.sum(tl.where(rows == STEPS - 1, values, 0.0), 0)


@triton.jit
def _store_totals(totals_ptr, start, n, units, f, u, H: tl.constexpr):
    """Store (f, u) of a chunk: chunks x B x 2 x H."""
    # `start` is the place of unit n in chunks x B x H. What precedes its row is twice as long here.
    place = 2 * (start - n) + n
    tl.store(totals_ptr + place, f, mask=units)
    tl.store(totals_ptr + place + H, u, mask=units)


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def _between(totals_ptr, start_ptr, out_ptr, B, chunks, H: tl.constexpr, BLOCK: tl.constexpr):
    """The value before each chunk, from (f, u): chunks x B x 2 x H -> chunks x B x H."""
    b = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    units = n < H
    value = tl.load(start_ptr + b * H + n, mask=units, other=0.0)
    for chunk in range(0, chunks):
        place = chunk * B + b
        tl.store(out_ptr + place * H + n, value, mask=units)
        f = tl.load(totals_ptr + place * 2 * H + n, mask=units, other=0.0)
        u = tl.load(totals_ptr + place * 2 * H + H + n, mask=units, other=0.0)
        value = u + f * value


@triton.jit
def _factors(z, H: tl.constexpr, live, ACTIVATE: tl.constexpr, PARTS: tl.constexpr):
    """f_t, 1 where `live` is False, and the activated rows."""
    r = ACTIVATE(z, H, live, PARTS)
    return tl.where(live, r[0], 1.0), r


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def _forward(
    start_ptr, totals_ptr, z_ptr, u_ptr, padding_ptr, y_ptr, c_n_ptr, cells_ptr,
    T, B, length, H: tl.constexpr, R: tl.constexpr,
    ACTIVATE: tl.constexpr, OUTPUT: tl.constexpr, PARTS: tl.constexpr,
    PADDED: tl.constexpr, IS_SCAN: tl.constexpr,
    REVERSE: tl.constexpr, SAVE: tl.constexpr, TOTALS: tl.constexpr,
    STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run one chunk of `length` steps. With TOTALS, compute only its (f, u)."""
    B, b, chunk = B.to(tl.int64), tl.program_id(0), tl.program_id(2)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    units = n < H
    start = (chunk * B + b) * H + n
    if TOTALS:
        c, kept = tl.zeros((BLOCK,), tl.float32), tl.full((BLOCK,), 1.0, tl.float32)
    else:
        c, kept = tl.load(start_ptr + start, mask=units, other=0.0), 0.0
    end = tl.minimum(chunk * length + length, T)
    for first in tl.range(chunk * length, end, STEPS, num_stages=1):
        s = first + tl.arange(0, STEPS)
        t = T - 1 - s if REVERSE else s
        tb = t * B + b
        inside = (s < end)[:, None] & units[None, :]
        live = inside
        if PADDED:
            padding = tl.load(padding_ptr + tb, mask=s < end, other=1)
            live = inside & (padding == 0)[:, None]
        z = z_ptr + tb[:, None] * (R * H) + n[None, :]
        f, r = _factors(z, H, live, ACTIVATE, PARTS)
        place = tb[:, None] * H + n[None, :]
        u = load(u_ptr + place, live) if IS_SCAN else tl.where(live, r[1], 0.0)
        f_all, u_all = tl.associative_scan((f, u), 0, _after)
        cells = u_all + f_all * c[None, :]
        if TOTALS:
            kept *= _last_row(f_all, STEPS)
        else:
            h = OUTPUT(r, cells, PARTS)
            if not IS_SCAN:
                h = tl.where(live, h, 0.0)
            tl.store(y_ptr + place, h, mask=inside)
            if SAVE:
                tl.store(cells_ptr + place, cells, mask=inside)
        c = _last_row(cells, STEPS)
    if TOTALS:
        _store_totals(totals_ptr, start, n, units, kept, c, H)
    else:
        if end == T:
            tl.store(c_n_ptr + b.to(tl.int64) * H + n, c, mask=units)


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def _backward(
    start_ptr, totals_ptr, z_ptr, c_0_ptr, padding_ptr, cells_ptr, dy_ptr, dz_ptr, du_ptr, dc_0_ptr,
    T, B, length, H: tl.constexpr, R: tl.constexpr,
    ACTIVATE: tl.constexpr, SLOPE: tl.constexpr, STORE_GRADIENTS: tl.constexpr,
    PARTS: tl.constexpr, PADDED: tl.constexpr, IS_SCAN: tl.constexpr,
    REVERSE: tl.constexpr, HAS_DY: tl.constexpr, TOTALS: tl.constexpr,
    STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run one chunk of steps in reverse, with dc_t = g_t + f_{t+1} dc_{t+1}.

    Chunks pass on the gradient of the memory cell before a step, f_t dc_t.
    """
    B, b, chunk = B.to(tl.int64), tl.program_id(0), tl.program_id(2)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    units = n < H
    start = (chunk * B + b) * H + n
    if TOTALS:
        dc_next, kept = tl.zeros((BLOCK,), tl.float32), tl.full((BLOCK,), 1.0, tl.float32)
    else:
        dc_next, kept = tl.load(start_ptr + start, mask=units, other=0.0), 0.0
        c_0 = tl.load(c_0_ptr + b.to(tl.int64) * H + n, mask=units, other=0.0)
    end = tl.minimum(chunk * length + length, T)
    for first in tl.range(chunk * length, end, STEPS, num_stages=1):
        k = first + tl.arange(0, STEPS)  # counted from the end of the sequence
        s = T - 1 - k
        t = T - 1 - s if REVERSE else s
        t_prev = t + 1 if REVERSE else t - 1
        tb = t * B + b
        inside = (k < end)[:, None] & units[None, :]
        live = inside
        if PADDED:
            padding = tl.load(padding_ptr + tb, mask=k < end, other=1)
            live = inside & (padding == 0)[:, None]
        place = tb[:, None] * H + n[None, :]
        z = z_ptr + tb[:, None] * (R * H) + n[None, :]
        f, r = _factors(z, H, live, ACTIVATE, PARTS)
        c = load(cells_ptr + place, live)
        dh = tl.zeros((STEPS, BLOCK), tl.float32)
        if HAS_DY:
            dh = load(dy_ptr + place, inside if IS_SCAN else live)
        g = dh * SLOPE(r, c, PARTS)
        if TOTALS:
            # e_t = f_t dc_t = f_t g_t + f_t e_{t+1}
            f_all, e_all = tl.associative_scan((f, f * g), 0, _after)
            kept *= _last_row(f_all, STEPS)
            dc_next = _last_row(e_all + f_all * dc_next[None, :], STEPS)
        else:
            # An exclusive scan, which gives e_{t+1}: scan the values shifted by one step. The rows
            # after the last step hold its e_t.
            shifted = (k > first) & (k <= end)
            live_next = shifted[:, None] & units[None, :]
            tb_next = (t - 1 if REVERSE else t + 1) * B + b
            if PADDED:
                padding_next = tl.load(padding_ptr + tb_next, mask=shifted, other=1)
                live_next = live_next & (padding_next == 0)[:, None]
            z_next = z_ptr + tb_next[:, None] * (R * H) + n[None, :]
            # the compiler drops what this loads for other rows
            f_next, _ = _factors(z_next, H, live_next, ACTIVATE, PARTS)
            f_before, d_all = tl.associative_scan((f_next, g), 0, _after)
            dc = d_all + f_before * dc_next[None, :]
            before = cells_ptr + (t_prev * B + b)[:, None] * H + n[None, :]
            c_prev = load(before, live & (s > 0)[:, None])
            c_prev = tl.where((s == 0)[:, None], c_0[None, :], c_prev)
            dz = dz_ptr + tb[:, None] * (R * H) + n[None, :]
            STORE_GRADIENTS(dz, r, c_prev, c, dh, dc, H, live, inside, PARTS)
            if IS_SCAN:
                tl.store(du_ptr + place, tl.where(live, dc, 0.0), mask=inside)
            dc_next = _last_row(f * dc, STEPS)
    if TOTALS:
        _store_totals(totals_ptr, start, n, units, kept, dc_next, H)
    else:
        if end == T:
            tl.store(dc_0_ptr + b.to(tl.int64) * H + n, dc_next, mask=units)


# How a batch is divided among programs


class Plan(NamedTuple):
    """How a kernel that scans over time divides a batch among programs.

    Args:
        steps: number of time steps that a program handles at a time.
        block: number of units of a program.
        chunks: number of parts of the sequence that run in parallel.
    """

    steps: int = 16
    block: int = 64  # with 128, the float32 backward kernel exceeds the registers
    chunks: int = 1


# Chunks read the inputs of a kernel twice. That pays off only if there are too few programs to use
# the memory bandwidth of a large GPU. The thresholds are estimates.
FEW_PROGRAMS = 256
ENOUGH_PROGRAMS = 512
SHORTEST_CHUNK = 128  # steps


def plan_for(time: int, batch: int, units: int) -> Plan:
    """The plan for a batch of this size."""
    plan = Plan()
    block = min(plan.block, triton.next_power_of_2(units))
    programs = batch * triton.cdiv(units, block)
    chunks = 1
    if programs < FEW_PROGRAMS:
        chunks = min(triton.cdiv(ENOUGH_PROGRAMS, programs), max(1, time // SHORTEST_CHUNK))
        chunks = triton.cdiv(time, triton.cdiv(time, chunks))  # avoid empty chunks
    return Plan(1 if time == 1 else plan.steps, block, chunks)


def _in_chunks(
    kernel: Any,
    start: Tensor,
    tensors: tuple[Tensor, ...],
    time: int,
    plan: Plan | None,
    **options: Any,
) -> None:
    """Launch once for a single chunk, else three times: totals, chunk boundaries, all chunks.

    Args:
        kernel: `_forward` or `_backward`. Its arguments are the value before each chunk, the totals
            of the chunks, `tensors`, and the sizes.
        start: the value before the first chunk, B x H. Nothing is launched if it has no elements.
        tensors: all other tensors.
        time: T.
        plan: None stands for that of `plan_for`.
        options: the kernel's own constants.
    """
    if start.numel() == 0:
        return
    batch, units = start.shape
    plan = plan or plan_for(time, batch, units)
    tiles = (batch, triton.cdiv(units, plan.block))
    sizes = (time, batch, triton.cdiv(time, plan.chunks), units)
    options |= dict(STEPS=plan.steps, BLOCK=plan.block)
    launch: Callable[..., Any] = kernel[(*tiles, plan.chunks)]
    with torch.cuda.device_of(start):
        if plan.chunks == 1:
            launch(start, start, *tensors, *sizes, **options, TOTALS=False)
            return
        totals = start.new_empty((plan.chunks, batch, 2, units))
        between = start.new_empty((plan.chunks, batch, units))
        launch(start, totals, *tensors, *sizes, **options, TOTALS=True)
        _between[tiles](totals, start, between, batch, plan.chunks, units, plan.block)
        launch(between, totals, *tensors, *sizes, **options, TOTALS=False)


def launch(given: Problem, plan: Plan | None = None) -> None:
    """Run `memory_cell`, for cells in `EQUATIONS`. See `operators` and `_in_chunks`."""
    t = dense(given)
    z, c_0, padding, cells = t["z"], t["c_0"], t["padding"], t["cells"]
    # in place of a tensor that does not exist, the kernels get another, which they do not access
    tensors: tuple[Tensor, ...]
    if given.backward:
        start = torch.zeros_like(c_0) if t["dc_n"] is None else t["dc_n"]
        dy, du = either(t["dy"], z), either(t["du"], t["dz"])
        tensors = (z, c_0, either(padding, z), cells, dy, t["dz"], du, t["dc_0"])
        options = _options(given, "ACTIVATE", "SLOPE", "STORE_GRADIENTS")
        options["HAS_DY"] = t["dy"] is not None
        _in_chunks(_backward, start, tensors, len(z), plan, **options)
    else:
        u, kept = either(t["u"], z), either(cells, t["c_n"])
        tensors = (z, u, either(padding, z), t["y"], t["c_n"], kept)
        options = _options(given, "ACTIVATE", "OUTPUT")
        options["SAVE"] = cells is not None
        _in_chunks(_forward, c_0, tensors, len(z), plan, **options)


def _options(given: Problem, *functions: str) -> dict[str, Any]:
    cell = decode(given.cell_id)
    return dict(
        {name: getattr(EQUATIONS[type(cell)], name) for name in functions},
        R=len(cell.rows),
        PARTS=given.cell_id,
        PADDED=given.tensors["padding"] is not None,
        IS_SCAN=isinstance(cell, Scan),
        REVERSE=given.reverse,
    )


def dense(given: Problem) -> dict[str, Any]:
    """All tensors, contiguous, and the mask as bytes. Outputs are so already."""
    tensors = {name: t if t is None else t.contiguous() for name, t in given.tensors.items()}
    padding = tensors["padding"]
    return {**tensors, "padding": None if padding is None else padding.view(torch.uint8)}


def either(tensor: Tensor | None, other: Tensor) -> Tensor:
    return other if tensor is None else tensor
