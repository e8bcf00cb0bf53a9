"""Dropout with one mask for all time steps."""

from __future__ import annotations

from torch import Tensor

from .dropout import DropoutBase


class LockedDropout(DropoutBase):
    """Dropout of the same features at every time step of a sequence.

    It is known as variational dropout (Gal and Ghahramani, 2016) and, in language models, as locked
    dropout (Merity et al., 2018). With fairseq's --retain-dropout it is also applied in decoding,
    where every step draws a new mask.

    Args:
        p: probability that a feature of a sequence is dropped.
        module_name: the name of this module for --retain-dropout-modules.
    """

    def forward(self, x: Tensor) -> Tensor:
        """T steps x B sequences x C features, and the result has the same shape."""
        if not self.active:
            return x
        mask = x.new_empty(1, *x.shape[1:]).bernoulli_(1 - self.p)
        return x * mask.div_(1 - self.p) if self.p < 1 else x * mask
