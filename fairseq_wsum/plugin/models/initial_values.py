"""The initial values of the models with LSTMs, and vectors from files."""

from __future__ import annotations

import logging

import torch
from fairseq.data import Dictionary
from torch import nn

from ...layer import WsumLSTM

logger = logging.getLogger(__name__)


def embedding(dictionary: Dictionary, dim: int) -> nn.Embedding:
    """An embedding with one vector for each word of a dictionary."""
    return nn.Embedding(len(dictionary), dim, padding_idx=dictionary.pad())


@torch.no_grad()
def load_embedding(path: str | None, dictionary: Dictionary, embed_tokens: nn.Embedding) -> None:
    """Load pre-trained vectors into an embedding, if there is a file.

    The file has a line for each word, with its vector. As in word2vec's text format, two whole
    numbers may be in a line before them. Words that are not in the file keep their vectors.

    Raises:
        ValueError: the file has no vector of this size for any word of the dictionary.
    """
    if not path:
        return
    found, size, indices = 0, embed_tokens.embedding_dim, {**dictionary.indices}
    del indices[dictionary.pad_word]  # its vector stays zero
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            word, *vector = line.rstrip().rsplit(" ", size)  # GloVe has words with spaces
            if len(vector) == size and word in indices:
                values = torch.tensor([*map(float, vector)])
                embed_tokens.weight[indices[word]] = values.to(embed_tokens.weight)
                found += 1
    if not found:
        raise ValueError(
            f"{path}: no word of the dictionary has a vector of {size} numbers there; the size is "
            "that of --encoder-embed-dim or --decoder-embed-dim"
        )
    logger.info("%s: vectors of %d of %d words", path, found, len(dictionary))


def init_uniform(model: nn.Module, bound: float, *, zero_biases: bool = False) -> None:
    """Draw all parameters uniformly from [-bound, bound].

    The embedding of padding is zero.

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
