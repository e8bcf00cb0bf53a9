"""Embeddings and initial values, as the models need them."""

from __future__ import annotations

from fairseq import utils
from fairseq.data import Dictionary
from torch import nn


def embedding(dictionary: Dictionary, dim: int) -> nn.Embedding:
    """A row for each word."""
    return nn.Embedding(len(dictionary), dim, padding_idx=dictionary.pad())


def init_uniform(model: nn.Module, bound: float, *, zero_biases: bool = False) -> None:
    """Draw all parameters from [-bound, bound]; the embedding of padding is zero.

    Args:
        zero_biases: vectors start from zero.
    """
    for parameter in model.parameters():
        if zero_biases and parameter.dim() == 1:
            nn.init.zeros_(parameter)
        else:
            nn.init.uniform_(parameter, -bound, bound)
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])


def load_embedding(path: str | None, dictionary: Dictionary, embedding: nn.Embedding) -> None:
    """Overwrite the rows of the words that the file (word2vec's text format) knows."""
    if path:
        vectors = utils.parse_embedding(path)
        utils.print_embed_overlap(vectors, dictionary)
        utils.load_embedding(vectors, dictionary, embedding)
