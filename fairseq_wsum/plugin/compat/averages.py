"""Fixes for fairseq's moving average of a model, --store-ema."""

from __future__ import annotations

import functools
import logging
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from fairseq import checkpoint_utils
from fairseq.models.ema.ema import EMA
from fairseq.trainer import Trainer
from torch import Tensor, nn

logger = logging.getLogger(__name__)


def apply() -> None:
    """Apply the shims of this file."""
    _load_all_entries()
    _begin_with_the_weights()
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
        restore(self, {**_tensors(self.model), **state_dict}, *args, **named)

    EMA.restore = restore_all


def _begin_with_the_weights() -> None:
    """Let an average begin with the weights of a checkpoint that has none.

    fairseq means to do this, too, but deletes the weights before it reads them (KeyError: 'model').
    """
    load = Trainer.load_checkpoint

    @functools.wraps(load)
    def load_with_average(self: Trainer, filename: str, *args: Any, **named: Any) -> Any:
        if not self.cfg.ema.store_ema:
            return load(self, filename, *args, **named)
        read = checkpoint_utils.load_checkpoint_to_cpu

        def read_with_average(*args: Any, **named: Any) -> Any:
            state = read(*args, **named)
            if "ema" not in (state.get("extra_state") or {"ema": None}):
                logger.info("%s has no average: it begins with the weights", filename)
                state["extra_state"]["ema"] = dict(state["model"])
            return state

        with patch.object(checkpoint_utils, "load_checkpoint_to_cpu", read_with_average):
            return load(self, filename, *args, **named)

    Trainer.load_checkpoint = load_with_average


def _average_shared_tensors_once() -> None:
    """Average a tensor with several names, such as shared embeddings, once in each update.

    fairseq moves it once for each name, so that its average has a shorter past than the others.
    """
    step = EMA._step_internal

    @functools.wraps(step)
    def step_once(self: EMA, new_model: nn.Module, *args: Any, **named: Any) -> None:
        averages = self.fp32_params if self.config.ema_fp32 else _tensors(self.model)
        names: dict[Any, str] = {}  # the first name of each tensor
        for name, average in averages.items():
            names.setdefault(average.data_ptr() if average.numel() else name, name)
        first = set(names.values())
        entries = new_model.state_dict().items()
        distinct = {name: x for name, x in entries if name in first or name not in averages}
        step(self, SimpleNamespace(state_dict=lambda: distinct), *args, **named)

    EMA._step_internal = step_once


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers of a model, shared ones under each of their names.

    `state_dict()` has them, too, but our models compute the fingerprints of dictionaries for it.
    """
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
