"""fairseq's dropout, computed by a faster kernel on the CPU."""

from __future__ import annotations

from fairseq.modules import FairseqDropout
from torch import Tensor, nn

from ...ops.dropout import dropout


class DropoutBase(FairseqDropout):
    """What the kinds of dropout have in common: p, and when they drop.

    Args:
        p: probability that one of the things that the class names is dropped.
        module_name: the name of this module for --retain-dropout-modules.
    """

    @property
    def active(self) -> bool:
        """Whether anything is dropped: in training, and in decoding with --retain-dropout."""
        return self.p > 0 and (self.training or self.apply_during_inference)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout(DropoutBase):
    """fairseq's dropout, of single numbers, with the kernel of `ops.dropout`."""

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        """A tensor of any shape, which is never changed in place."""
        return dropout(x, self.p) if self.active else x


def use_dropout(model: nn.Module) -> None:
    """Replace every `FairseqDropout` within a new model of fairseq's by `Dropout`.

    For --retain-dropout-modules, those in `WsumTransformerEncoder` have the name of fairseq's
    `TransformerEncoder`, and so on.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is FairseqDropout:
                of = str(child.module_name or "").removeprefix("Wsum")
                setattr(module, name, Dropout(child.p, of or None))
