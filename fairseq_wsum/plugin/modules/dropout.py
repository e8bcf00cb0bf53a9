"""The dropouts: of single elements, as in fairseq, of features, of words, of recurrent weights."""

from __future__ import annotations

from fairseq.modules import FairseqDropout
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ...layer import State, WsumLSTM
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


class LockedDropout(DropoutBase):
    """Dropout, with probability p, of the same features at every time step of a sequence.

    It is known as variational dropout (Gal and Ghahramani, 2016) and, in language models, as locked
    dropout (Merity et al., 2018). With fairseq's --retain-dropout it is also applied in decoding,
    where every step draws a new mask.
    """

    def forward(self, x: Tensor) -> Tensor:
        """T steps x B sequences x C features, and the result has the same shape."""
        if not self.active:
            return x
        return x * F.dropout(x.new_ones(1, *x.shape[1:]), self.p)


class EmbeddingDropout(DropoutBase):
    """Dropout of the embeddings of whole words (Gal and Ghahramani, 2016).

    In every forward pass each word of the vocabulary is dropped with probability p: its embedding
    is zero wherever the word occurs. All other embeddings are divided by 1 - p. An output embedding
    that shares the matrix is not affected.
    """

    def forward(self, embed_tokens: nn.Embedding, tokens: Tensor) -> Tensor:
        """The embeddings, B x T x E features, of B x T tokens."""
        x: Tensor = embed_tokens(tokens)
        if not self.active:
            return x
        kept = F.dropout(x.new_ones(embed_tokens.num_embeddings, 1), self.p)  # V x 1
        return x * kept[tokens]


class WeightDropout(DropoutBase):
    """DropConnect on the recurrent matrices: the weight-dropped LSTM (Merity et al., 2018).

    In every forward pass each element of every `weight_hh` is dropped with probability p and
    otherwise divided by 1 - p. The elements are the same at all time steps and for all sequences.
    """

    def forward(self, lstm: WsumLSTM, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the layers: T x B x C -> T x B x P, and the final state."""
        if not self.active:
            return lstm(x, state)
        dropped = {
            name: dropout(weight, self.p)
            for name, weight in lstm.named_parameters()
            if name.startswith("weight_hh")
        }
        # The parameters themselves stay as they are, and so do their names in checkpoints.
        return functional_call(lstm, dropped, (x, state))


def use_dropout(model: nn.Module) -> None:
    """Replace every `FairseqDropout` in a new model of fairseq's by `Dropout`."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is FairseqDropout:
                setattr(module, name, Dropout(child.p, child.module_name))
