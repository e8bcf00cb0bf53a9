"""What fails on current torch and numpy."""

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
    """Where several processes resume, the first reads the checkpoint and sends it to the others.

    It does so with torch.save and torch.load (distributed/utils.py), and since torch 2.6 torch.load
    refuses the configuration in it. torch's own way to send an object has no such trouble.
    """

    def broadcast_object_slow(obj: Any, src_rank: int, group: Any, dist_device: Any) -> Any:
        objects = [obj]
        torch.distributed.broadcast_object_list(objects, src_rank, group, dist_device)
        return objects[0]

    distributed_utils._broadcast_object_slow = broadcast_object_slow


def _restore_old_names_of_numpy() -> None:
    """Three files of fairseq use `numpy.compat.long` and `numpy.int`, which are both Python's int.

    numpy 1.24 took the one away and numpy 2 the other: an AttributeError where a language model
    reads sentences, or continues them. And what `numpy.percentile` called `interpolation` until
    numpy 2.4 is `method`: a TypeError with --num-batch-buckets. The names are put back for these
    three files alone.
    """
    if hasattr(numpy, "compat") and hasattr(numpy, "int"):
        return

    class NumpyWithOldNames(ModuleType):
        int = int
        compat = SimpleNamespace(long=int)

        def percentile(self, a: Any, q: Any, interpolation: Any = "linear") -> Any:
            return numpy.percentile(a, q, method=interpolation)

        def __getattr__(self, name: str) -> Any:
            return getattr(numpy, name)

    for module in (data_utils, language_pair_dataset, token_block_dataset):
        module.np = NumpyWithOldNames("numpy")
