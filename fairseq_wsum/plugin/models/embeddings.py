"""Embeddings, and vectors for them from files."""

from __future__ import annotations

from pathlib import Path

from fairseq import utils
from fairseq.data import Dictionary
from torch import nn

from .fields import flag


def embedding(dictionary: Dictionary, dim: int) -> nn.Embedding:
    """An embedding with one vector for each word of a dictionary."""
    return nn.Embedding(len(dictionary), dim, padding_idx=dictionary.pad())


def load_embedding(
    path: str | None, option: str, dictionary: Dictionary, embed_tokens: nn.Embedding
) -> None:
    """Load pre-trained vectors into an embedding, if `option` names a file.

    The file is in word2vec's text format: one line with two numbers, then one line for each word.
    Words that are not in the file keep their vectors.

    Raises:
        ValueError: the file does not exist, or has another format.
        RuntimeError: its vectors have the wrong size.
    """
    if not path:
        return
    if not Path(path).is_file():
        raise ValueError(
            f"{flag(option)} {path}: no such file. A trained model contains the vectors: to "
            "continue its training, omit the option; to use it without the file, give "
            f"--model-overrides \"{{'{option}': None}}\""
        )
    vectors = utils.parse_embedding(path)
    utils.print_embed_overlap(vectors, dictionary)
    utils.load_embedding(vectors, dictionary, embed_tokens)
