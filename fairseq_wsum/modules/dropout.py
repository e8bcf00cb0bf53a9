"""Dropout with one mask for all time steps."""

from __future__ import annotations

from torch import Tensor, nn


class LockedDropout(nn.Module):
    """Drops the same features at every time step of a sequence.

    Known as variational dropout (Gal and Ghahramani, 2016) and, in language models, as locked
    dropout (Merity et al., 2018).

    Args:
        p: probability that a feature of a sequence is dropped.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """T x B x C -> T x B x C."""
        if not self.training or self.p == 0:
            return x
        mask = x.new_empty(1, *x.shape[1:]).bernoulli_(1 - self.p)
        return x * mask.div_(1 - self.p) if self.p < 1 else x * mask

    def extra_repr(self) -> str:
        return f"p={self.p}"
