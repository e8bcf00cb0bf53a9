"""The initial values of the models with LSTMs, and vectors from files."""

from __future__ import annotations

from fairseq import utils
from fairseq.data import Dictionary
from torch import nn

from ...layer import WsumLSTM


def embedding(dictionary: Dictionary, dim: int) -> nn.Embedding:
    """An embedding with one vector for each word of a dictionary."""
    return nn.Embedding(len(dictionary), dim, padding_idx=dictionary.pad())


def load_embedding(path: str | None, dictionary: Dictionary, embed_tokens: nn.Embedding) -> None:
    """Load pre-trained vectors into an embedding, if there is a file.

    The file is in word2vec's text format: one line with two numbers, then one line for each word.
    Words that are not in the file keep their vectors.
    """
    if path:
        vectors = utils.parse_embedding(path)
        utils.print_embed_overlap(vectors, dictionary)
        utils.load_embedding(vectors, dictionary, embed_tokens)


def init_uniform(model: nn.Module, bound: float, *, zero_biases: bool = False) -> None:
    """Draw all parameters uniformly from [-bound, bound].

    The embedding of padding is zero. Layer normalisation starts with weight 1 and bias 0.

    Args:
        model: the model.
        bound: the bound. Where a cell needs other values than uniform ones, it sets them.
        zero_biases: initialise all one-dimensional parameters, which are biases and the vectors of
            a cell, to zero instead.
    """
    for parameter in model.parameters():
        if zero_biases and parameter.dim() == 1:
            nn.init.zeros_(parameter)
        else:
            nn.init.uniform_(parameter, -bound, bound)
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, WsumLSTM):
            module.initialise_cell()
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
