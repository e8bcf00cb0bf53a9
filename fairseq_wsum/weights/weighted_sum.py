"""The weights of the weighted sum, from a trace.

    c_t = sum_j w^t_j * g_j + s_t * c_0
    w^t_j = i_j * f_{j+1} * ... * f_t          the weight of step j in the memory cell at step t
    s_t = f_1 * ... * f_t                      the share of the initial memory cell

Levy et al. (ACL 2018). In a backward direction the products run from
step j down to step t.

The products are computed step by step. With gates between 0 and 1 nothing can overflow, and nothing
cancels, as it would in a difference of summed logarithms; a gate may also be zero or negative.

Shapes: t and j are time steps, both of T; B sequences, H hidden units. Weights at padding are zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..recurrence.padding import zero_at_padding
from ..transforms import without_autocast
from .trace import Trace

SHARE = 0.1  # of its first norm, below which the life of a step ends
BLOCK = 64  # steps whose weights are held at the same time
TINY = 1e-30  # squares below it count as zero: arithmetic with denormal numbers is slow


class Lifetimes(NamedTuple):
    """How long each step stays in memory.

    Attributes:
        steps: T x B, the number of later steps at which the norm of the step's weight is still at
            least the given share of its norm at the step itself. Zero at padding.
        complete: T x B, whether the norm fell below that share before the end of the sequence.
            Where it did not, the step may have stayed in memory for longer.
        kept: K x T x B, the norm of the step's weight K steps later, as a share of its norm at the
            step itself. Padding between steps does not count as a step. NaN if the sequence ends
            before, if the norm at the step itself is zero, and at padding.
    """

    steps: Tensor
    complete: Tensor
    kept: Tensor


class ReconstructionError(NamedTuple):
    """The largest differences between the weighted sum and what the layer computed.

    Each is relative to the largest absolute value of what the layer computed.

    Attributes:
        cells: between the weighted sum and the memory cells c_t.
        outputs: between the outputs h_t that follow from the weighted sum and those of the layer.
        last: between the last c_t of the trace and the layer's c_n.
    """

    cells: float
    outputs: float
    last: float


def weights(trace: Trace, units: Sequence[int] | None = None) -> Tensor:
    """w^t_j for every pair of steps, T x T x B x H.

    Args:
        trace: a trace of one direction of one layer.
        units: the hidden units to return, K of them; all by default. Allocates 2 T * T * B * K
            numbers for a moment.
    """
    i, f = (part if units is None else part[..., list(units)] for part in _gates(trace))
    now, rows = torch.zeros_like(i), []
    for t in range(len(i)):
        now = now * f[t]
        now[t] = i[t]
        rows.append(now)
    return _in_order(trace, torch.stack(rows))


def norms(trace: Trace) -> Tensor:
    """The L2 norms of w^t_j over the hidden units, T x T x B.

    A norm below 1e-15 sqrt(H) may be zero here. Allocates the result, in a backward direction
    twice, and some 3 T * B * H further numbers.
    """
    steps, batch = trace.cells.shape[:2]
    found = trace.cells.new_zeros(batch, steps, steps)
    for t, block in _squares(*_gates(trace)):
        found[:, t : t + block.size(1), : block.size(2)] = block.sqrt_()
    return _in_order(trace, found.permute(1, 2, 0))


def initial_shares(trace: Trace) -> Tensor:
    """s_t, the weight of the initial memory cell, T x B x H. Zero at padding."""
    _, f = _gates(trace)
    shares = f.cumprod(0)
    return zero_at_padding(shares.flip(0) if trace.reverse else shares, trace.padding_mask)


def lifetimes(trace: Trace, share: float = SHARE, later: Sequence[int] = ()) -> Lifetimes:
    """How long each step stays in memory: until its norm falls below a share of its first norm.

    Allocates T * B * H numbers, not all norms. A norm below 1e-15 sqrt(H) may count as zero.

    Args:
        trace: a trace of one direction of one layer.
        share: the share, between 0 and 1.
        later: numbers of steps, K of them, after which to return how much is kept.

    Raises:
        ValueError: `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share {share}: give a number between 0 and 1")
    i, f = _gates(trace)
    found = Lifetimes(
        torch.zeros(i.shape[:2], dtype=torch.long, device=i.device),
        torch.zeros(i.shape[:2], dtype=torch.bool, device=i.device),
        i.new_full((len(later), *i.shape[:2]), torch.nan),
    )
    for b in range(i.size(1)):
        steps = torch.arange(len(i), device=i.device)
        if trace.padding_mask is not None:  # without its steps, nothing changes for the others
            mask = trace.padding_mask[:, b]
            steps = steps[~(mask.flip(0) if trace.reverse else mask)]
        one = _lifetimes(i[steps, b : b + 1], f[steps, b : b + 1], share, later)
        for all, part in zip(found, one, strict=True):
            all[..., steps, b] = part
    return Lifetimes(*(x.flip(-2) if trace.reverse else x for x in found))


def _lifetimes(i: Tensor, f: Tensor, share: float, later: Sequence[int]) -> Lifetimes:
    """`lifetimes` of one sequence without padding, from its gates in order, T x 1 x H."""
    steps = len(i)
    first = i.new_zeros(steps)  # squared, as all norms here
    kept = i.new_full((len(later), steps), torch.nan)
    end = torch.full((steps,), steps, device=i.device)  # the first step that is below
    order = torch.arange(steps, device=i.device)
    for t, (block,) in _squares(i, f):
        known = block.size(1)
        at = order[t:known]
        first[at] = block.diagonal(t)
        limit = share**2 * first[:known]
        below = (block < limit) | (limit == 0)  # what never enters the memory is not kept, either
        below &= at[:, None] > order[:known]
        end[:known] = torch.where(below.any(0), t + below.int().argmax(0), steps).minimum(
            end[:known]
        )
        for of_k, k in zip(kept, later, strict=True):
            j = order[max(t - k, 0) : max(known - k, 0)]
            of_k[j] = (block[j + k - t, j] / first[j]).sqrt()
    return Lifetimes(end - order - 1, end < steps, kept)


def half_lives(forget_gates: Tensor) -> Tensor:
    """The number of steps after which half of a unit's content is left, N x H -> H.

    It is ln(1/2) / mean(ln f_t), the half-life at the geometric mean of the forget gates; infinite
    where they are all one.

    Args:
        forget_gates: f_t at N steps that are not padding, between 0 and 1, or -1 and 1: the sign
            of a product of gates does not matter here.
    """
    mean = forget_gates.abs().clamp(torch.finfo(forget_gates.dtype).tiny, 1).log().mean(0)
    return math.log(2) / mean.abs()


def rebuild(trace: Trace) -> Tensor:
    """c_t as the weighted sum, T x B x H: sum_j w^t_j * g_j + s_t * c_0. Zero at padding.

    This takes T * T * B * H multiplications, but memory for some T * B * H numbers only. It has no
    gradients.
    """
    i, f = _gates(trace)
    g = trace.contents.detach()
    g = g.flip(0) if trace.reverse else g
    now, sums = torch.zeros_like(i), []
    for t in range(len(i)):
        now[:t] *= f[t]
        now[t] = i[t]
        sums.append((now[: t + 1] * g[: t + 1]).sum(0))
    total = torch.stack(sums)
    total = total.flip(0) if trace.reverse else total
    return zero_at_padding(total + initial_shares(trace) * trace.c_0.detach(), trace.padding_mask)


def reconstruction_error(trace: Trace) -> ReconstructionError:
    """The largest differences between the weighted sum and what the layer computed.

    It costs as much as `rebuild`.
    """
    rebuilt = rebuild(trace)
    cells = zero_at_padding(trace.cells, trace.padding_mask)
    last = trace.cells[0 if trace.reverse else -1]
    return ReconstructionError(
        cells=_difference(rebuilt, cells),
        outputs=_difference(trace.output(rebuilt), trace.outputs),
        last=_difference(last, trace.c_n),
    )


def _difference(found: Tensor, expected: Tensor) -> float:
    size = expected.detach().abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return float((found - expected).detach().abs().max() / size)


def _squares(i: Tensor, f: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The squared norms of w^t_j in blocks of steps t, from gates in order, T x B x H.

    Within a block, the weights follow from each other step by step. The weight of an earlier step
    is the one that it has at the end of the block before, times the gates since then, so its norm
    is a scalar product, and those of a block are a matrix product.

    Yields:
        The first step of a block, and the squared norms, B x steps of the block x j, for all j up
        to the end of the block.
    """
    i, f = (part.transpose(0, 1) ** 2 for part in (i, f))  # B x T x H
    earlier = torch.zeros_like(i)  # (w^t_j)^2 at the end of the block before, by j
    for t in range(0, i.size(1), BLOCK):
        f_t = f[:, t : t + BLOCK]
        size = f_t.size(1)
        since = _without_tiny(f_t.cumprod(1))
        block = i.new_zeros(i.size(0), size, t + size)
        with without_autocast(i.device):
            block[:, :, :t] = since @ earlier[:, :t].transpose(1, 2)
        within = earlier[:, t : t + size]
        for k in range(size):
            within[:, :k] *= f_t[:, k : k + 1]
            within[:, k] = i[:, t + k]
            block[:, k, t : t + k + 1] = within[:, : k + 1].sum(-1)
        earlier[:, :t] *= since[:, -1:]
        _without_tiny(earlier[:, : t + size])
        yield t, block


def _without_tiny(x: Tensor) -> Tensor:
    return x.masked_fill_(x < TINY, 0)


def _gates(trace: Trace) -> tuple[Tensor, Tensor]:
    """i_t and f_t in the order of the direction, without their gradients."""
    i, f = trace.input_gates.detach(), trace.forget_gates.detach()
    return (i.flip(0), f.flip(0)) if trace.reverse else (i, f)


def _in_order(trace: Trace, found: Tensor) -> Tensor:
    """Weights of t and j, T x T x B (x H), in the order of time, and zero where t is padding."""
    found = found.flip(0, 1) if trace.reverse else found
    mask = trace.padding_mask
    if mask is None:
        return found
    mask = mask.unsqueeze(1)
    return found.masked_fill_(mask if found.dim() == 3 else mask.unsqueeze(-1), 0)
