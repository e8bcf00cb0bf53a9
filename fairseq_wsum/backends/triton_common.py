"""Code shared by the Triton kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..ops import operators

# Arguments that Triton must not specialise on, so that new values need no compilation. The number
# of units is a compile-time constant instead, because Triton derives the width of vectorised
# accesses from it.
RUN_TIME_VALUES = ("T", "B", "length", "chunks", "first", "last")


@triton.jit
def sigmoid(x):  # type: ignore[no-untyped-def]
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):  # type: ignore[no-untyped-def]
    # use the Taylor series near 0, where 1 - 2 / (e^2x + 1) loses precision
    s = x * x
    near = x * (1.0 + s * (-0.33333333 + s * (0.13333333 - s * 0.053968254)))
    far = 1.0 - 2.0 / (tl.exp(2.0 * tl.minimum(tl.maximum(x, -15.0), 15.0)) + 1.0)
    return tl.where(s < 0.01, near, tl.where(x != x, x, far))


def check_cell(code: int) -> None:
    """Check that the kernels with equations of a cell have this one.

    Raises:
        ValueError: they do not, and would read and write other rows than those of z.
    """
    cell = operators.decode(code)
    if not operators.has_kernels(cell, "cuda"):
        raise ValueError(f"the kernels take the LSTM and its ablations, not {cell.label}")


def as_bytes(padding_mask: Tensor | None, other: Tensor) -> Tensor:
    """The mask as bytes, or `other` as a placeholder argument if there is no mask."""
    return other if padding_mask is None else padding_mask.contiguous().view(torch.uint8)


# Scans of the memory cell over time, in tiles and in chunks


@triton.jit
def after(f, u, f_next, u_next):  # type: ignore[no-untyped-def]
    """Join c -> u + f c and the step after it, for an associative scan."""
    return f * f_next, u_next + f_next * u


@triton.jit
def last_row(values, STEPS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The last of STEPS rows: STEPS x BLOCK -> BLOCK."""
    rows = tl.arange(0, STEPS)[:, None]
    return tl.sum(tl.where(rows == STEPS - 1, values, 0.0), 0)


@triton.jit
def store_totals(totals_ptr, start, n, units, f, u, H: tl.constexpr):  # type: ignore[no-untyped-def]
    """Store (f, u) of a chunk: chunks x B x 2 x H."""
    # `start` is the place of unit n in chunks x B x H. What precedes its row is twice as long here.
    place = 2 * (start - n) + n
    tl.store(totals_ptr + place, f, mask=units)
    tl.store(totals_ptr + place + H, u, mask=units)


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def _between(  # type: ignore[no-untyped-def]
    totals_ptr, start_ptr, out_ptr, B, chunks, H: tl.constexpr, BLOCK: tl.constexpr
):
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


class Plan(NamedTuple):
    """How a kernel that scans over time divides a batch among programs.

    Args:
        steps: number of time steps that a program handles at a time.
        block: number of units of a program.
        chunks: number of parts of the sequence that run in parallel.
        warps: number of warps of a program.
        stages: how many iterations ahead the inputs are loaded, plus 1.

    Only the default warps and stages have been measured; benchmarks/plans.py compares others.
    """

    steps: int = 16
    block: int = 64  # with 128, the float32 backward kernel exceeds the registers
    chunks: int = 1
    warps: int = 4
    stages: int = 1


# Chunks read the inputs of a kernel twice. That pays off only if there are too few programs to use
# the memory bandwidth of a large GPU. The thresholds are estimates for 132 multiprocessors with a
# few programs each; they have not been measured.
FEW_PROGRAMS = 256
ENOUGH_PROGRAMS = 512
SHORTEST_CHUNK = 128  # steps


def plan_for(time: int, batch: int, units: int) -> Plan:
    """The plan for a batch of this size."""
    plan = Plan()
    block = min(plan.block, 1 << (units - 1).bit_length())
    programs = batch * math.ceil(units / block)
    chunks = 1
    if programs < FEW_PROGRAMS:
        chunks = min(math.ceil(ENOUGH_PROGRAMS / programs), max(1, time // SHORTEST_CHUNK))
        chunks = math.ceil(time / math.ceil(time / chunks))  # avoid empty chunks
    if time == 1:
        return plan._replace(steps=1, block=block)
    return plan._replace(block=block, chunks=chunks)


def in_chunks(
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
    tiles = (batch, math.ceil(units / plan.block))
    sizes = (time, batch, math.ceil(time / plan.chunks), units)
    options |= dict(STEPS=plan.steps, BLOCK=plan.block, STAGES=plan.stages, num_warps=plan.warps)
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
