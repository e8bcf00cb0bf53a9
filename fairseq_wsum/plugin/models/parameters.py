"""Embeddings and initial values of the models."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fairseq import utils
from fairseq.data import Dictionary
from torch import nn

from ...layer import WsumLSTM
from ...layer.entries import add_entry
from .options import TAKE_ITS_DICTIONARY, flag


def embedding(dictionary: Dictionary, dim: int) -> nn.Embedding:
    """An embedding with one vector for each word of a dictionary."""
    return nn.Embedding(len(dictionary), dim, padding_idx=dictionary.pad())


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


def load_embedding(
    path: str | None, option: str, dictionary: Dictionary, embed_tokens: nn.Embedding
) -> None:
    """Load pre-trained vectors into an embedding, if `option` names a file.

    The file is in word2vec's text format: one line with two numbers, then one line for each word.
    Words that are not in the file keep their vectors.

    Raises:
        ValueError: the file does not exist or has another format, or its vectors have the wrong
            size; the message names `option`.
    """
    if not path:
        return
    if not Path(path).is_file():
        raise ValueError(
            f"{flag(option)} {path}: no such file. A trained model contains the vectors: to use it "
            f"without the file, give --model-overrides \"{{'{option}': None}}\""
        )
    form = f"{flag(option)} {path}: give word2vec's text format"
    with open(path, "rb") as file:
        if len(file.readline().split()) != 2:  # fairseq would skip it, whatever it is
            raise ValueError(f"{form}, whose first line has the numbers of words and dimensions")
    try:
        vectors = utils.parse_embedding(path)
    except ValueError as error:
        raise ValueError(f"{form}, with a word and its numbers in each line: {error}") from error
    sizes = {len(vector) for vector in vectors.values()} or {embed_tokens.embedding_dim}
    if len(sizes) > 1:
        raise ValueError(f"{form}: the vectors have {min(sizes)} to {max(sizes)} numbers")
    (size,) = sizes
    if size != embed_tokens.embedding_dim:
        raise ValueError(
            f"{flag(option)} {path} has vectors of {size} numbers, but the embedding has "
            f"{embed_tokens.embedding_dim}: give {flag(option.replace('path', 'dim'))} {size}"
        )
    utils.print_embed_overlap(vectors, dictionary)
    utils.load_embedding(vectors, dictionary, embed_tokens)


def remember_words(module: nn.Module) -> None:
    """Make a module with a `dictionary` reject weights trained with a different dictionary."""
    add_entry(module, "words", _fingerprint, _check_words)


def _fingerprint(module: nn.Module) -> str:
    """A hash of the dictionary's words in order."""
    symbols: list[str] = module.dictionary.symbols  # type: ignore[union-attr, assignment]
    return hashlib.sha256("\n".join(symbols).encode()).hexdigest()


def _check_words(
    module: nn.Module, words: str | None, state_dict: dict[str, Any], prefix: str
) -> None:
    weight = state_dict.get(f"{prefix}embed_tokens.weight")
    # the embedding has other words, too, with --merge-src-tgt-embed or --output-dictionary-size
    known = getattr(module.embed_tokens, "num_embeddings", 0)
    if weight is not None and len(weight) != known:
        what = f"knows {len(weight):,} words, but the dictionary in the data folder has {known:,}"
    elif words is not None and words != _fingerprint(module):
        what = "was trained with another dictionary than the one in the data folder"
    else:
        return
    raise ValueError(f"the checkpoint's {prefix.removesuffix('.')} {what}: {TAKE_ITS_DICTIONARY}")
