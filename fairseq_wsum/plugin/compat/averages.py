"""A fix for fairseq's moving average of a model, --store-ema."""

from __future__ import annotations

import functools
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
