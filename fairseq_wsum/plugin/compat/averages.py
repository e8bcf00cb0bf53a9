"""Fixes for fairseq's moving average of a model, --store-ema."""

from __future__ import annotations

import functools
from typing import Any

from fairseq.models.ema.ema import EMA
from torch import Tensor


def apply() -> None:
    """Apply the shims of this file."""
    _keep_versions()
    _stay_in_phase()


def _stay_in_phase() -> None:
    """Update the average after a resumption when an uninterrupted training would.

    fairseq counts the updates since the last one of --ema-update-freq from each start.
    """
    step = EMA.step

    @functools.wraps(step)
    def step_in_phase(self: EMA, new_model: Any, updates: int | None = None) -> None:
        if updates is not None:
            self.update_freq_counter = (updates - 1) % self.config.ema_update_freq
        step(self, new_model, updates)

    EMA.step = step_in_phase


def _keep_versions() -> None:
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
