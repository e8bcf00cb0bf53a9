"""A fix for fairseq's moving average of a model, --store-ema."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

from fairseq.models.ema.ema import EMA
from torch import Tensor


def apply() -> None:
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
    _average_once()


def _average_once() -> None:
    """Average a tensor that has several names once in an update, such as a shared embedding.

    fairseq (ema.py) multiplies it by the decay for each of them.
    """
    step = EMA._step_internal

    @functools.wraps(step)
    def step_once(self: EMA, new_model: Any, updates: int | None = None) -> None:
        averages = self.fp32_params if self.config.ema_fp32 else self.model.state_dict()
        names = {one.data_ptr(): name for name, one in averages.items()}  # the last of each
        own = {
            name: one
            for name, one in new_model.state_dict().items()
            if name not in averages or names[averages[name].data_ptr()] == name
        }
        step(self, SimpleNamespace(state_dict=lambda: own), updates)

    EMA._step_internal = step_once
