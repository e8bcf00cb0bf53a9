"""Dropout of words."""

from __future__ import annotations

from torch import Tensor, nn

from .dropout import DropoutBase


class EmbeddingDropout(DropoutBase):
    """Dropout of the embeddings of whole words (Gal and Ghahramani, 2016).

    In every forward pass each word of the vocabulary is dropped with probability p: its embedding
    is zero wherever the word occurs. All other embeddings are divided by 1 - p. An output embedding
    that shares the matrix is not affected.

    Args:
        p: probability that a word is dropped.
        module_name: the name of this module for --retain-dropout-modules.
    """

    def forward(self, embed_tokens: nn.Embedding, tokens: Tensor) -> Tensor:
        """The embeddings, B x T x E features, of B x T tokens."""
        x: Tensor = embed_tokens(tokens)
        if not self.active:
            return x
        kept = x.new_empty(embed_tokens.num_embeddings, 1).bernoulli_(1 - self.p)  # V x 1
        if self.p < 1:
            kept = kept / (1 - self.p)
        return x * kept[tokens]
