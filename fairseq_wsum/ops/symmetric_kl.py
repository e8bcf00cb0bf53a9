"""The symmetric Kullback-Leibler divergence between two softmax distributions, for R-Drop.

Shapes: N rows of logits over W words.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .library import no_second_derivatives

# Elements that are worked on at a time: the arrays of a block stay in a processor's cache.
_BLOCK = {"cpu": 1 << 17, "cuda": 1 << 25}


def symmetric_kl(a: Tensor, b: Tensor) -> Tensor:
    """(KL(p || q) + KL(q || p)) / 2 for p = softmax(a) and q = softmax(b), row by row.

    The gradient is computed together with the value, so that no array of probabilities is kept.

    Args:
        a: logits, N x W.
        b: logits, N x W.

    Returns:
        The divergences in nats, N, float32. They have no second derivatives.
    """
    divergence: Tensor = _SymmetricKL.apply(a, b)
    return divergence


class _SymmetricKL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        divergence = a.new_empty(a.size(0), dtype=torch.float32)
        # in float16 the gradient must be scaled before it is rounded
        dtype = torch.float32 if a.dtype == torch.float16 else a.dtype
        da, db = torch.empty_like(a, dtype=dtype), torch.empty_like(b, dtype=dtype)
        rows = max(_BLOCK.get(a.device.type, 1 << 20) // max(a.size(1), 1), 1)
        for k in range(0, a.size(0), rows):
            log_p, log_q = (z[k : k + rows].float().log_softmax(-1) for z in (a, b))
            p, q = log_p.exp(), log_q.exp()
            ratio, difference = log_p.sub_(log_q), p - q
            ratio.masked_fill_(p + q == 0, 0)  # -inf - -inf is NaN
            divergence[k : k + rows] = (difference * ratio).sum(-1) / 2
            # dD/da = (p * (ratio - E_p[ratio]) + p - q) / 2, and the same with p and q exchanged
            for w, sign, dz in ((p, 1, da), (q, -1, db)):
                weighted = w * ratio
                weighted.addcmul_(w, weighted.sum(-1, keepdim=True), value=-1).add_(difference)
                dz[k : k + rows] = weighted.mul_(sign / 2)
        ctx.save_for_backward(da, db)
        ctx.dtype = a.dtype
        return divergence

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled():
            _refuse()
        da, db = ctx.saved_tensors
        d = d.unsqueeze(1).to(da.dtype)
        return (da * d).to(ctx.dtype), (db * d).to(ctx.dtype)


_refuse = no_second_derivatives("the formula itself, from torch's log_softmax and exp")
