"""Embeddings, and vectors for them from files."""

from __future__ import annotations

from pathlib import Path

from fairseq import utils
from fairseq.data import Dictionary
from torch import nn

from .options import flag


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
        ValueError: the file does not exist or has another format, or its vectors have the wrong
            size; the message names `option`.
    """
    if not path:
        return
    if not Path(path).is_file():
        raise ValueError(
            f"{flag(option)} {path}: no such file. A trained model contains the vectors: to "
            "continue its training, omit the option; to use it without the file, give "
            f"--model-overrides \"{{'{option}': None}}\""
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
