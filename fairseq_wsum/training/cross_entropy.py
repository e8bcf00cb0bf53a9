"""The cross entropy over a vocabulary, computed by C++ kernels (csrc/cross_entropy.h).

torch allocates three float32 arrays of the size of the logits: the log-probabilities and, in the
backward pass, their gradient and the gradient of the logits. These kernels allocate only the last
one, in the dtype of the logits, and read the logits twice.

Shapes: N rows of logits over W words.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from .. import kernels
from ..kernels import LIBRARY, derive, no_second_derivatives

Losses = tuple[Tensor, Tensor, Tensor]


def cross_entropy(logits: Tensor, targets: Tensor, ignored: int) -> tuple[Tensor, Tensor]:
    """-log softmax(logits), at the targets and summed over all words.

    Args:
        logits: N x W; `kernels.accepts(logits)` must be True.
        targets: indices of the target words, N, int64.
        ignored: rows with this target have zero loss and zero gradient.

    Returns:
        Both losses, N each, float32.

    Raises:
        IndexError: a target is outside the vocabulary.
    """
    nll, smooth, _ = torch.ops.fairseq_wsum.cross_entropy(logits, targets, ignored)
    return nll, smooth


class _CrossEntropy(ctypes.Structure):
    """The struct `CrossEntropy` of csrc/kernels.h."""

    _fields_ = kernels.fields(
        "N W ignored",
        "is_bf16 threads",
        ("z", "targets", "nll", "smooth", "logsumexp", "dnll", "dsmooth", "dz"),
    )


def _call(
    z: Tensor, targets: Tensor, ignored: int, backward: bool, **arrays: Tensor | None
) -> None:
    """Call a kernel.

    Raises:
        IndexError: a target is outside the vocabulary.
    """
    rows, words = z.shape
    assert targets.shape == (rows,) and targets.dtype == torch.int64
    arrays.update(z=z, targets=targets)
    numbers = dict(N=rows, W=words, ignored=ignored)
    if kernels.call("cross_entropy", _CrossEntropy, z, numbers, arrays, backward) == 1:
        wrong = targets[((targets < 0) | (targets >= words)) & (targets != ignored)]
        raise IndexError(f"target {int(wrong[0])} is outside the vocabulary of {words} words")


def _forward(logits: Tensor, targets: Tensor, ignored: int) -> Losses:
    nll, smooth, logsumexp = losses = _losses(logits, targets, ignored)
    _call(logits, targets, ignored, False, nll=nll, smooth=smooth, logsumexp=logsumexp)
    return losses


def _backward(
    dnll: Tensor | None,
    dsmooth: Tensor | None,
    logits: Tensor,
    targets: Tensor,
    logsumexp: Tensor,
    ignored: int,
) -> Tensor:
    dz = logits.new_empty(logits.shape)
    arrays = dict(logsumexp=logsumexp, dnll=dnll, dsmooth=dsmooth, dz=dz)
    _call(logits, targets, ignored, True, **arrays)
    return dz


# The operator

# -> the two losses (float32) and log sum exp(logits) for the backward pass (float64): N each
LIBRARY.define(
    "cross_entropy(Tensor logits, Tensor targets, int ignored) -> (Tensor, Tensor, Tensor)"
)
# -> the gradient of the logits
LIBRARY.define(
    "cross_entropy_backward(Tensor? dnll, Tensor? dsmooth, Tensor logits, Tensor targets,"
    " Tensor logsumexp, int ignored) -> Tensor"
)
LIBRARY.impl("cross_entropy", _forward, "CPU")
LIBRARY.impl("cross_entropy_backward", _backward, "CPU")


def _losses(logits: Tensor, targets: Tensor, ignored: int) -> Losses:
    """Uninitialised outputs of `cross_entropy`."""
    nll, smooth, logsumexp = (
        logits.new_empty(logits.size(0), dtype=dtype)
        for dtype in (torch.float32, torch.float32, torch.float64)
    )
    return nll, smooth, logsumexp


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Losses) -> None:
    logits, targets, ctx.ignored = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(logits, targets, output[2])


def _gradient(ctx: Any, dnll: Tensor | None, dsmooth: Tensor | None, _: None) -> Any:
    if torch.is_grad_enabled():
        _refuse()
    inputs = (dnll, dsmooth, *ctx.saved_tensors, ctx.ignored)
    return torch.ops.fairseq_wsum.cross_entropy_backward(*inputs), None, None


_refuse = no_second_derivatives(
    "fairseq's own loss: --criterion cross_entropy, or label_smoothed_cross_entropy"
)
derive("cross_entropy", _losses, _gradient, _save)
derive("cross_entropy_backward", lambda dnll, dsmooth, z, *_: z.new_empty(z.shape), _refuse)
