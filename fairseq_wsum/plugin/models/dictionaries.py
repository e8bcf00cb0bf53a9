"""Modules that know the dictionaries with which they were trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn


def remember_words(module: nn.Module, **others: Dictionary | None) -> None:
    """Make a module reject weights that were trained with other dictionaries.

    A buffer holds a hash of each dictionary, so that every checkpoint has it: a hexadecimal digit
    in each element, in float32, because many programs average all entries of a checkpoint.

    Args:
        module: the module; the buffer of its `dictionary` is `words`.
        others: further dictionaries by the name of a buffer, such as that of relations.
    """
    given = {"words": module.dictionary, **others}
    known = {name: fingerprint(one) for name, one in given.items() if one is not None}
    for name, digits in known.items():
        module.register_buffer(name, digits.clone())  # `to_empty` may erase it
    module.register_load_state_dict_pre_hook(partial(_check, known))


def fingerprint(dictionary: Any) -> Tensor:
    """A hash of the dictionary's words in order."""
    digits = hashlib.sha256("\n".join(dictionary.symbols).encode()).hexdigest()
    return torch.tensor([*digits.encode()], dtype=torch.float32, device="cpu")


def _check(
    known: Mapping[str, Tensor], _: nn.Module, state_dict: dict[str, Any], prefix: str, *__: object
) -> None:
    for name, own in known.items():
        # weights from elsewhere may have no entry; averages may be rounded
        stored = state_dict.get(prefix + name, own).to("cpu", torch.float32).round()
        if not torch.equal(stored, own):
            raise ValueError(
                f"the checkpoint was trained with other {name}, or with the same ones in another "
                "order, than the data folder has: give the data that the model was trained with, "
                "or prepare yours with its vocabulary (prepare.sh translation --like FOLDER; a "
                "text for a language model: fairseq-preprocess --only-source --srcdict FILE; a "
                "treebank or questions: copy the model's dict*.txt into the prepared folder)"
            )
        state_dict[prefix + name] = own.clone()
