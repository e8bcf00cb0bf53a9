"""fairseq's dropout, computed by a faster kernel on the CPU."""

from __future__ import annotations

from fairseq.modules import FairseqDropout
from torch import Tensor, nn

from ...training.dropout import dropout


class DropoutBase(FairseqDropout):
    """The base class of the dropout modules: the probability, and when dropout is active.

    Args:
        p: dropout probability.
        module_name: the name of this module for --retain-dropout-modules.
    """

    @property
    def active(self) -> bool:
        """Whether anything is dropped: in training, and in decoding with --retain-dropout."""
        return self.p > 0 and (self.training or self.apply_during_inference)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout(DropoutBase):
    """fairseq's element-wise dropout, with the kernel of `training.dropout`."""

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        """A tensor of any shape, which is never changed in place."""
        return dropout(x, self.p) if self.active else x


def use_dropout(model: nn.Module) -> None:
    """Replace every `FairseqDropout` in a new model of fairseq's by `Dropout`.

    In a class derived from one of fairseq's, a dropout keeps the name of fairseq's class, by which
    --retain-dropout-modules finds it.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is FairseqDropout:
                named = child.module_name is not None
                setattr(module, name, Dropout(child.p, _name_in_fairseq(module) if named else None))


def _name_in_fairseq(module: nn.Module) -> str:
    kinds = (kind for kind in type(module).__mro__ if kind.__module__.startswith("fairseq."))
    name = next(kinds, type(module)).__name__
    short = {f"Transformer{side}Base": f"Transformer{side}" for side in ("Encoder", "Decoder")}
    return short.get(name, name)
