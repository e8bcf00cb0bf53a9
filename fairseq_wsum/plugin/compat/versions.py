"""Fixes for failures on current torch and numpy."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy
import torch
from fairseq.data import data_utils, language_pair_dataset, token_block_dataset
from fairseq.distributed import utils as distributed_utils


def apply() -> None:
    """Apply the shims of this file."""
    _send_checkpoints_between_processes()
    _restore_old_names_of_numpy()


def _send_checkpoints_between_processes() -> None:
    """Broadcast checkpoints with torch's own function.

    When several processes resume, the first one reads the checkpoint and sends it to the others.
    fairseq serializes it with torch.save and torch.load (distributed/utils.py), but since torch 2.6
    torch.load rejects the configuration in it. torch's `broadcast_object_list` accepts it.
    """

    def broadcast_object_slow(obj: Any, src_rank: int, group: Any, dist_device: Any) -> Any:
        objects = [obj]
        torch.distributed.broadcast_object_list(objects, src_rank, group, dist_device)
        return objects[0]

    distributed_utils._broadcast_object_slow = broadcast_object_slow


def _restore_old_names_of_numpy() -> None:
    """Give three fairseq modules the numpy names that they use and that numpy has removed.

    `numpy.int` was removed in numpy 1.24 and `numpy.compat.long` in numpy 2; both were Python's
    int. Without them a language model that reads or continues sentences raises an AttributeError.
    Only these three modules see the old names.
    """

    class NumpyWithOldNames(ModuleType):
        int = int
        compat = SimpleNamespace(long=int)

        def __getattr__(self, name: str) -> Any:
            return getattr(numpy, name)

    for module in (data_utils, language_pair_dataset, token_block_dataset):
        module.np = NumpyWithOldNames("numpy")
