"""The best words of each row of logits, computed by a C++ kernel (csrc/candidates.h).

A step of beam search needs a few words of each hypothesis. To find them, fairseq reads and writes
all logits several times.

Shapes: N rows of logits over W words; F words that are always wanted, the first of the vocabulary;
k others.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from ... import kernels


def candidates(
    logits: Tensor, first: int, k: int, *, normalised: bool = False
) -> tuple[Tensor, Tensor]:
    """The log-probabilities of the first words of the vocabulary, and of the best of the others.

    Of words with equal logits the first in the vocabulary comes first. A log-probability that is no
    number is minus infinity: all of a row whose logits have a NaN or an infinity, or are all minus
    infinity. The words of a row always differ.

    Where there is no kernel, torch computes the same, except for the order of equal words.

    Args:
        logits: N x W, in any floating-point dtype.
        first: F, from 0 to W.
        k: from 0 to W - F.
        normalised: the logits are log-probabilities.

    Returns:
        The log-probabilities, N x (F + k), in float32 (float64 for logits in float64), and the
        words, int64. The best k are in falling order.
    """
    assert min(first, k) >= 0 and first + k <= logits.size(-1)
    if not kernels.accepts(logits):
        return reference(logits, first, k, normalised=normalised)
    shape = (len(logits), first + k)
    log_p = logits.new_empty(shape, dtype=torch.float32)
    words = logits.new_empty(shape, dtype=torch.int64)
    numbers = dict(N=len(logits), W=logits.size(1), first=first, k=k, normalised=normalised)
    kernels.call(
        "candidates", _Candidates, logits, numbers, dict(z=logits, log_p=log_p, words=words)
    )
    return log_p, words


def reference(
    logits: Tensor, first: int, k: int, *, normalised: bool = False
) -> tuple[Tensor, Tensor]:
    """`candidates` by torch's operations, on any device."""
    log_p = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if not normalised:
        log_p = torch.log_softmax(log_p, -1)
    log_p = log_p.nan_to_num(-torch.inf, torch.inf, -torch.inf)
    best, words = log_p[:, first:].topk(k)
    always = torch.arange(first, device=logits.device).expand(len(logits), -1)
    return torch.cat((log_p[:, :first], best), 1), torch.cat((always, words + first), 1)


class _Candidates(ctypes.Structure):
    """The struct `Candidates` of csrc/kernels.h."""

    _fields_ = kernels.fields("N W first k", "is_bf16 threads normalised", ("z", "log_p", "words"))
