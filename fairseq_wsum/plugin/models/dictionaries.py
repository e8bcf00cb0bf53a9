"""Modules that know the dictionary with which they were trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn


def remember_words(module: nn.Module, **others: Dictionary | None) -> None:
    """Make a module with a `dictionary` reject weights trained with a different dictionary.

    A buffer `words` holds a hash of the dictionary, so that every checkpoint has it: a hexadecimal
    digit in each element, in float32, because many programs average all entries of a checkpoint.

    Args:
        module: the module.
        others: further dictionaries by the name of a buffer, such as that of relations.
    """
    set_words(module)
    known = {name: one for name, one in others.items() if one is not None}
    for name, one in known.items():
        module.register_buffer(name, _fingerprint(one))
    module.register_load_state_dict_pre_hook(_check_words)
    module.register_load_state_dict_pre_hook(partial(_check_others, known))


def set_words(module: nn.Module) -> None:
    """Record the dictionary that the module has now."""
    module.register_buffer("words", _fingerprint(module.dictionary))


def _fingerprint(dictionary: Any) -> Tensor:
    """A hash of the dictionary's words in order."""
    digits = hashlib.sha256("\n".join(dictionary.symbols).encode()).hexdigest()
    return torch.tensor([*digits.encode()], dtype=torch.float32, device="cpu")


def _is_stored(state_dict: dict[str, Any], name: str, own: Tensor) -> bool:
    """Whether a checkpoint has this hash, which it then gets exactly."""
    # weights from elsewhere may have no entry; the mean of several may be rounded
    stored = state_dict.get(name, own).to("cpu", torch.float32).round()
    state_dict[name] = own
    return torch.equal(stored, own)


def _check_others(
    known: Mapping[str, Dictionary],
    module: nn.Module,
    state_dict: dict[str, Any],
    prefix: str,
    *unused: object,
) -> None:
    for name, dictionary in known.items():
        if not _is_stored(state_dict, prefix + name, _fingerprint(dictionary)):
            raise ValueError(
                f"the checkpoint was trained with other {name}, or with the same ones in another "
                "order, than the data folder has: give the data that the model was trained with"
            )


def _check_words(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *unused: object
) -> None:
    """Check the dictionary before the module loads weights: a hook of torch's.

    Raises:
        ValueError: the weights were trained with another dictionary.
    """
    same = _is_stored(state_dict, f"{prefix}words", _fingerprint(module.dictionary))
    weight = state_dict.get(f"{prefix}embed_tokens.weight")
    # the embedding has other words, too, with --merge-src-tgt-embed or --output-dictionary-size
    known = getattr(module.embed_tokens, "num_embeddings", 0)
    if weight is not None and len(weight) != known:
        what = f"knows {len(weight):,} words, but the dictionary in the data folder has {known:,}"
    elif not same:
        what = "was trained with another dictionary than the one in the data folder"
    else:
        return
    raise ValueError(
        f"the checkpoint's {prefix.removesuffix('.')} {what}: give the data that the model was "
        "trained with, or prepare yours with its vocabulary (prepare_multi30k.sh --like FOLDER, or "
        "for text in the same units fairseq-preprocess --srcdict, --tgtdict)"
    )
