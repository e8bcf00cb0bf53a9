"""Modules that know the dictionary with which they were trained."""

from __future__ import annotations

import hashlib
from typing import Any

from torch import nn

from ...layer.entries import add_entry


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
    raise ValueError(
        f"the checkpoint's {prefix.removesuffix('.')} {what}: give the data that the model was "
        "trained with, or prepare yours with its vocabulary (prepare_multi30k.sh --like FOLDER, or "
        "for text in the same units fairseq-preprocess --srcdict, --tgtdict)"
    )
