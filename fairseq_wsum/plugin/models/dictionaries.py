"""Modules that know the dictionary with which they were trained."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn


def remember_words(module: nn.Module) -> None:
    """Make a module with a `dictionary` reject weights trained with a different dictionary.

    A buffer `words` holds a hash of the dictionary, so that every checkpoint has it: a hexadecimal
    digit in each element, in float32, because many programs average all entries of a checkpoint.
    """
    set_words(module)
    module.register_load_state_dict_pre_hook(_check_words)


def set_words(module: nn.Module) -> None:
    """Record the dictionary that the module has now."""
    module.register_buffer("words", _fingerprint(module))


def _fingerprint(module: nn.Module) -> Tensor:
    """A hash of the dictionary's words in order."""
    symbols: list[str] = module.dictionary.symbols  # type: ignore[union-attr, assignment]
    digits = hashlib.sha256("\n".join(symbols).encode()).hexdigest()
    return torch.tensor([*digits.encode()], dtype=torch.float32, device="cpu")


def _check_words(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *unused: object
) -> None:
    """Check the dictionary before the module loads weights: a hook of torch's.

    Raises:
        ValueError: the weights were trained with another dictionary.
    """
    own = _fingerprint(module)
    # weights from elsewhere may have no entry; the mean of several may be rounded
    stored = state_dict.get(f"{prefix}words", own).to("cpu", torch.float32).round()
    state_dict[f"{prefix}words"] = own
    weight = state_dict.get(f"{prefix}embed_tokens.weight")
    # the embedding has other words, too, with --merge-src-tgt-embed or --output-dictionary-size
    known = getattr(module.embed_tokens, "num_embeddings", 0)
    if weight is not None and len(weight) != known:
        what = f"knows {len(weight):,} words, but the dictionary in the data folder has {known:,}"
    elif not torch.equal(stored, own):
        what = "was trained with another dictionary than the one in the data folder"
    else:
        return
    raise ValueError(
        f"the checkpoint's {prefix.removesuffix('.')} {what}: give the data that the model was "
        "trained with, or prepare yours with its vocabulary (prepare_multi30k.sh --like FOLDER, or "
        "for text in the same units fairseq-preprocess --srcdict, --tgtdict)"
    )
