"""Embeddings and initial values, as the models need them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fairseq import utils
from fairseq.data import Dictionary
from torch import nn

from ...layer.entries import add_entry
from .options import TAKE_ITS_DICTIONARY, flag


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


def load_embedding(
    cfg: object, option: str, dictionary: Dictionary, embedding: nn.Embedding
) -> None:
    """Overwrite the rows of the words that a file knows, if `option` of `cfg` names one.

    The file has the text format of word2vec: a line of two numbers, then a word a line.

    Raises:
        ValueError: there is no such file, or its vectors have another size; the message names
            `option`.
    """
    path = getattr(cfg, option)
    if not path:
        return
    if not Path(path).is_file():
        raise ValueError(
            f"{flag(option)} {path}: no such file. A trained model has its vectors: to use one "
            f"where the file is not, give --model-overrides \"{{'{option}': None}}\""
        )
    vectors = utils.parse_embedding(path)
    size = next((len(vector) for vector in vectors.values()), embedding.embedding_dim)
    if size != embedding.embedding_dim:
        raise ValueError(
            f"{flag(option)} {path} has vectors of {size} numbers, and the embedding has "
            f"{embedding.embedding_dim}: give {flag(option.replace('path', 'dim'))} {size}"
        )
    utils.print_embed_overlap(vectors, dictionary)
    utils.load_embedding(vectors, dictionary, embedding)


def remember_words(module: nn.Module) -> None:
    """Let a module with a `dictionary` refuse weights that were trained with other words."""
    add_entry(module, "words", _fingerprint, _check_words)


def _fingerprint(module: nn.Module) -> str:
    """Of the dictionary's words, in their order."""
    symbols: list[str] = module.dictionary.symbols  # type: ignore[union-attr, assignment]
    return hashlib.sha256("\n".join(symbols).encode()).hexdigest()


def _check_words(
    module: nn.Module, words: str | None, state_dict: dict[str, Any], prefix: str
) -> str | None:
    weight, known = state_dict.get(f"{prefix}embed_tokens.weight"), len(module.dictionary)  # type: ignore[arg-type]
    if weight is not None and len(weight) != known:
        what = f"knows {len(weight):,} words, and the dictionary in the data folder has {known:,}"
    elif words is not None and words != _fingerprint(module):
        what = "was trained with another dictionary than the one in the data folder"
    else:
        return None
    # not one message of several: torch's, of the sizes of all matrices, would bury it
    raise ValueError(f"the checkpoint's {prefix.removesuffix('.')} {what}: {TAKE_ITS_DICTIONARY}")
