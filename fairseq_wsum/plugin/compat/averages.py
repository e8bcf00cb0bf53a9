"""Fixes for fairseq's moving average of a model, --store-ema."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

from fairseq import checkpoint_utils
from fairseq.models.ema.ema import EMA
from fairseq.trainer import Trainer
from torch import Tensor


def apply() -> None:
    """Apply the shims of this file."""
    _keep_versions()
    _stay_in_phase()
    _average_shared_weights_once()
    _begin_with_the_weights()


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


def _average_shared_weights_once() -> None:
    """Average a weight once, however many names it has, such as that of a shared embedding.

    fairseq averages the entries of the state dict in place, so that an embedding with three names
    moves three times as far in each update.
    """
    step = EMA._step_internal

    @functools.wraps(step)
    def step_once(self: EMA, new_model: Any, updates: int | None = None) -> None:
        names, first = (
            {name for name, _ in new_model.named_parameters(remove_duplicate=one)}
            for one in (False, True)
        )
        entries = new_model.state_dict()
        for name in names - first:
            entries.pop(name, None)
            self.fp32_params.pop(name, None)  # with --ema-fp32 each name has a copy of its own
        step(self, SimpleNamespace(state_dict=lambda: entries), updates)

    EMA._step_internal = step_once


def _begin_with_the_weights() -> None:
    """Let the average of a checkpoint that has none begin with its weights.

    fairseq means to do so, but has removed them by then: KeyError: 'model' (trainer.py). They are
    removed again from what `Trainer.load_checkpoint` returns, which fairseq keeps in host memory
    until the training ends.
    """
    load, resume = checkpoint_utils.load_checkpoint_to_cpu, Trainer.load_checkpoint

    @functools.wraps(load)
    def load_with_average(*args: Any, **named: Any) -> dict[str, Any]:
        state: dict[str, Any] = load(*args, **named)
        if "model" in state:
            state.setdefault("extra_state", {}).setdefault("ema", state["model"])
        return state

    @functools.wraps(resume)
    def resume_without_weights(self: Trainer, *args: Any, **named: Any) -> dict[str, Any] | None:
        extra_state = resume(self, *args, **named)
        if extra_state is not None:
            extra_state.pop("ema", None)
        return extra_state

    checkpoint_utils.load_checkpoint_to_cpu = load_with_average
    Trainer.load_checkpoint = resume_without_weights
