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
from .trace import Trace

SHARE = 0.1  # of its first norm, below which the life of a step ends


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
        units: the hidden units to return, K of them; all by default.
    """
    i, f = (part if units is None else part[..., list(units)] for part in _gates(trace))
    found = i.new_zeros(len(i), *i.shape)
    for t, w in enumerate(_weights(i, f)):
        found[t, : t + 1] = w
    return _in_order(trace, found)


def norms(trace: Trace) -> Tensor:
    """The L2 norms of w^t_j over the hidden units, T x T x B.

    Allocates the result, in a backward direction twice, and T * B * H further numbers.
    """
    i, f = _gates(trace)
    found = i.new_zeros(len(i), *i.shape[:2])
    for t, w in enumerate(_weights(i, f)):
        found[t, : t + 1] = w.norm(dim=-1)
    return _in_order(trace, found)


def initial_shares(trace: Trace) -> Tensor:
    """s_t, the weight of the initial memory cell, T x B x H. Zero at padding."""
    _, f = _gates(trace)
    shares = f.cumprod(0)
    return zero_at_padding(shares.flip(0) if trace.reverse else shares, trace.padding_mask)


def lifetimes(trace: Trace, share: float = SHARE, later: Sequence[int] = ()) -> Lifetimes:
    """How long each step stays in memory: until its norm falls below a share of its first norm.

    Args:
        trace: a trace of one direction of one layer.
        share: the share, between 0 and 1.
        later: numbers of steps, K of them, after which to return how much is kept.

    Raises:
        ValueError: `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ValueError(f"share {share}: give a number between 0 and 1")
    every = norms(trace)
    shape, device = every.shape[1:], every.device
    found = Lifetimes(
        torch.zeros(shape, dtype=torch.long, device=device),
        torch.zeros(shape, dtype=torch.bool, device=device),
        every.new_full((len(later), *shape), torch.nan),
    )
    for b in range(shape[1]):
        steps = torch.arange(len(every), device=device)
        if trace.padding_mask is not None:  # without its steps, nothing changes for the others
            steps = steps[~trace.padding_mask[:, b]]
        steps = steps.flip(0) if trace.reverse else steps
        own = every[steps][:, steps, b]  # t x j, in the order of the direction
        first, size = own.diagonal(), len(steps)
        # what never enters the memory is not kept, either
        below = ((own < share * first) | (first == 0)).tril(-1)
        end = size - below.int().cummax(0).values.sum(0)  # the first step below
        found.steps[steps, b] = end - torch.arange(size, device=device) - 1
        found.complete[steps, b] = end < size
        for kept, k in zip(found.kept, later, strict=True):
            kept[steps[: max(size - k, 0)], b] = own.diagonal(-k) / first[: max(size - k, 0)]
    return found


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
    total = torch.stack([(w * g[: len(w)]).sum(0) for w in _weights(i, f)])
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


def _weights(i: Tensor, f: Tensor) -> Iterator[Tensor]:
    """w^t_j for each t, j x B x H for all j up to t, from gates in order, T x B x H.

    Each step changes the values of the one before in place.
    """
    now = torch.zeros_like(i)
    for t in range(len(i)):
        now[:t] *= f[t]
        now[t] = i[t]
        yield now[: t + 1]


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
