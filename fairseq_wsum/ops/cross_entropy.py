"""The cross entropy of scores over a vocabulary, by C++ kernels (csrc/cross_entropy.h).

torch makes three arrays of 32 bits on the way, each as long as the scores: the logarithms of all
probabilities and, in the backward pass, their gradient and that of the scores. Here it is the last
one alone, in the type of the scores, which are read twice.

N rows of scores over W words.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from . import kernels
from .library import LIBRARY, derive, implement
from .transforms import in_transformation

Losses = tuple[Tensor, Tensor, Tensor]


def suits(logits: Tensor) -> bool:
    """Whether there are kernels for these scores: on the CPU, in 32 bits or bfloat16."""
    return (
        logits.device.type == "cpu"
        and logits.dtype in kernels.DTYPES
        and not in_transformation()
        and kernels.why_missing() is None
    )


def cross_entropy(logits: Tensor, targets: Tensor, ignored: int) -> tuple[Tensor, Tensor]:
    """-log softmax(logits): at the targets, and summed over all words.

    Args:
        logits: scores that `suits` has found suitable, N x W.
        targets: the right words, N, whole numbers of 64 bits.
        ignored: the target of rows whose losses and gradients are zero.

    Returns:
        Both losses, each N, in 32 bits.

    Raises:
        IndexError: a target is no word.
    """
    nll, smooth, _ = torch.ops.fairseq_wsum.cross_entropy(logits, targets, ignored)
    return nll, smooth


class _CrossEntropy(ctypes.Structure):
    """The struct of csrc/kernels.h."""

    _fields_ = [
        *((name, c_int64) for name in ("N", "W", "ignored")),
        *((name, c_int32) for name in ("is_bf16", "threads")),
        *((name, c_void_p) for name in ("z", "targets", "nll", "smooth", "logsumexp")),
        *((name, c_void_p) for name in ("dnll", "dsmooth", "dz")),
    ]


_DTYPES = {"targets": torch.int64, "logsumexp": torch.float64}


def _call(name: str, z: Tensor, targets: Tensor, ignored: int, **arrays: Tensor | None) -> None:
    """Hand dense tensors over.

    Raises:
        ValueError: a tensor has another type or shape than the kernels take.
        IndexError: a target is no word.
    """
    rows, words = z.shape
    real = torch.bfloat16 if z.dtype == torch.bfloat16 else torch.float32
    pointers = {"z": kernels.pointer("scores", z, real, (rows, words))}
    for what, tensor in {"targets": targets, **arrays}.items():
        if tensor is not None:
            dtype = _DTYPES.get(what, real if what == "dz" else torch.float32)
            shape = (rows, words) if what == "dz" else (rows,)
            pointers[what] = kernels.pointer(what, tensor, dtype, shape)
    flags = dict(is_bf16=real == torch.bfloat16, threads=torch.get_num_threads())
    arguments = _CrossEntropy(N=rows, W=words, ignored=ignored, **flags, **pointers)
    if kernels.call(name, arguments) == 1:
        wrong = targets[((targets < 0) | (targets >= words)) & (targets != ignored)]
        raise IndexError(f"target {int(wrong[0])} is no word of {words}")


def _forward(logits: Tensor, targets: Tensor, ignored: int) -> Losses:
    z, targets = logits.contiguous(), targets.contiguous()
    nll, smooth, logsumexp = losses = _losses(z, targets, ignored)
    arrays = dict(nll=nll, smooth=smooth, logsumexp=logsumexp)
    _call("wsum_cross_entropy", z, targets, ignored, **arrays)
    return losses


def _backward(
    dnll: Tensor | None,
    dsmooth: Tensor | None,
    logits: Tensor,
    targets: Tensor,
    logsumexp: Tensor,
    ignored: int,
) -> Tensor:
    z, targets, logsumexp = logits.contiguous(), targets.contiguous(), logsumexp.contiguous()
    dnll, dsmooth = (None if d is None else d.contiguous() for d in (dnll, dsmooth))
    dz = z.new_empty(z.shape)
    arrays = dict(logsumexp=logsumexp, dnll=dnll, dsmooth=dsmooth, dz=dz)
    _call("wsum_cross_entropy_backward", z, targets, ignored, **arrays)
    return dz


# The operator

# -> the losses, in 32 bits, and log sum exp(logits) for the backward pass, in 64: N each
LIBRARY.define(
    "cross_entropy(Tensor logits, Tensor targets, int ignored) -> (Tensor, Tensor, Tensor)"
)
# -> the gradient of the scores
LIBRARY.define(
    "cross_entropy_backward(Tensor? dnll, Tensor? dsmooth, Tensor logits, Tensor targets,"
    " Tensor logsumexp, int ignored) -> Tensor"
)
implement("CPU", {"cross_entropy": _forward, "cross_entropy_backward": _backward})


def _losses(logits: Tensor, targets: Tensor, ignored: int) -> Losses:
    """Empty tensors for what `cross_entropy` returns."""
    nll, smooth, logsumexp = (
        logits.new_empty(logits.size(0), dtype=dtype)
        for dtype in (torch.float32, torch.float32, torch.float64)
    )
    return nll, smooth, logsumexp


def _fake_backward(  # type: ignore[no-untyped-def]
    dnll, dsmooth, logits, targets, logsumexp, ignored
):
    return logits.new_empty(logits.shape)


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


def _refuse(*_: Any) -> Any:
    """At create_graph=True already: later, what is constant in a cotangent would be lost."""
    raise NotImplementedError(
        "second derivatives need fairseq's own loss: --criterion cross_entropy, or "
        "label_smoothed_cross_entropy"
    )


derive("cross_entropy", _losses, _gradient, _save)
derive("cross_entropy_backward", _fake_backward, _refuse)
