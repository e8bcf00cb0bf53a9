"""fairseq's dropout, computed by a faster kernel on the CPU."""

from __future__ import annotations

from fairseq.modules import FairseqDropout
from torch import Tensor, nn

from ...ops.dropout import dropout


class Dropout(FairseqDropout):
    """fairseq's dropout with the kernel of `ops.dropout`.

    Args:
        p: probability that a number is dropped.
        module_name: the name of this module for --retain-dropout-modules.
    """

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        """A tensor of any shape, which is never changed in place."""
        if self.p == 0 or not (self.training or self.apply_during_inference):
            return x
        return dropout(x, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def use_dropout(model: nn.Module) -> None:
    """Replace every `FairseqDropout` within a new model of fairseq's by `Dropout`."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is FairseqDropout:
                setattr(module, name, Dropout(child.p, child.module_name))
