"""Fixes for fairseq's moving average of a model, --store-ema."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

from fairseq.models.ema.ema import EMA
from torch import Tensor, nn


def apply() -> None:
    """Apply the shims of this file."""
    _load_all_entries()
    _average_shared_tensors_once()


def _load_all_entries() -> None:
    """Keep the version numbers of modules when an average is loaded into its model.

    fairseq averages all entries but these, and loads the others. Modules then take themselves for
    ones of an old version: a Transformer with normalisation before each sublayer drops its last
    normalisation without a message, and adaptive softmax causes an Exception ("This version of the
    model is no longer supported").
    """
    restore = EMA.restore

    @functools.wraps(restore)
    def restore_all(self: EMA, state_dict: dict[str, Tensor], *args: Any, **named: Any) -> None:
        restore(self, {**self.model.state_dict(), **state_dict}, *args, **named)

    EMA.restore = restore_all


def _average_shared_tensors_once() -> None:
    """Average a tensor with several names, such as shared embeddings, once in each update.

    fairseq moves it once for each name, so that its average has a shorter past than the others.
    """
    step = EMA._step_internal

    @functools.wraps(step)
    def step_once(self: EMA, new_model: nn.Module, *args: Any, **named: Any) -> None:
        averages = self.fp32_params if self.config.ema_fp32 else self.model.state_dict()
        names: dict[Any, str] = {}  # the first name of each tensor
        for name, average in averages.items():
            names.setdefault(average.data_ptr() if average.numel() else name, name)
        first = set(names.values())
        entries = new_model.state_dict().items()
        distinct = {name: x for name, x in entries if name in first or name not in averages}
        step(self, SimpleNamespace(state_dict=lambda: distinct), *args, **named)

    EMA._step_internal = step_once
