"""Resuming at the right place in an epoch and in --patience, and the end of data workers."""

from __future__ import annotations

import functools
import logging
import zlib
from typing import Any

import numpy as np
from fairseq.data.iterators import EpochBatchIterator, GroupedEpochBatchIterator
from fairseq.trainer import Trainer

logger = logging.getLogger(__name__)


def apply() -> None:
    """Apply the shims of this file."""
    _resume_at_the_right_batch()
    _resume_patience()
    _end_workers_with_their_epoch()


def _resume_at_the_right_batch() -> None:
    """Resume at the right batch if the number of processes or the batches have changed.

    fairseq's checkpoints store how many batches a process has read in the epoch
    (data/iterators.py). After such a change, that number refers to another position. Some batches
    would be trained twice and others never.
    """
    state_dict, load_state_dict = EpochBatchIterator.state_dict, EpochBatchIterator.load_state_dict

    @functools.wraps(state_dict)
    def state_dict_with_batches(self: EpochBatchIterator) -> dict[str, Any]:
        state = state_dict(self)
        grouped = isinstance(self, GroupedEpochBatchIterator)  # of several data sets
        if state["iterations_in_epoch"] > 0 and not grouped:
            state["batches"] = _batches(self)
        return state

    @functools.wraps(load_state_dict)
    def load_state_dict_at_its_place(self: EpochBatchIterator, state: dict[str, Any]) -> None:
        saved = state.get("batches")
        if state.get("iterations_in_epoch", 0) > 0 and saved is not None:
            self.epoch = state["epoch"]  # the batches may depend on it
            state = {**state, "iterations_in_epoch": _place(self, state, saved)}
        load_state_dict(self, state)

    EpochBatchIterator.state_dict = state_dict_with_batches
    EpochBatchIterator.load_state_dict = load_state_dict_at_its_place


def _resume_patience() -> None:
    """Let a resumed training go on counting the validations of --patience.

    fairseq keeps the best score and the number of validations since then in attributes of a
    function (fairseq_cli/train.py). A new process would count from zero and stop too late.
    """
    state_dict, load_checkpoint = Trainer.state_dict, Trainer.load_checkpoint

    @functools.wraps(state_dict)
    def state_dict_with_patience(self: Trainer) -> dict[str, Any]:
        from fairseq_cli.train import should_stop_early

        state: dict[str, Any] = state_dict(self)
        state["extra_state"]["patience"] = dict(vars(should_stop_early))
        return state

    @functools.wraps(load_checkpoint)
    def load_checkpoint_with_patience(
        self: Trainer,
        filename: str,
        reset_optimizer: bool = False,
        *args: Any,
        reset_meters: bool = False,
        **named: Any,
    ) -> dict[str, Any] | None:
        from fairseq_cli.train import should_stop_early

        state: dict[str, Any] | None = load_checkpoint(
            self, filename, reset_optimizer, *args, reset_meters=reset_meters, **named
        )
        if state is None or reset_optimizer or reset_meters:  # then fairseq forgets the best score
            return state
        vars(should_stop_early).update(state.get("patience", {}))
        if 0 < self.cfg.checkpoint.patience <= getattr(should_stop_early, "num_runs", 0):
            logger.info("the training has ended by --patience %d", self.cfg.checkpoint.patience)
            self.cfg.optimization.max_epoch = -1  # no epoch begins
        return state

    Trainer.state_dict = state_dict_with_patience
    Trainer.load_checkpoint = load_checkpoint_with_patience


def _end_workers_with_their_epoch() -> None:
    """Let the data workers end with their epoch, which fairseq keeps for the next one.

    With --update-epoch-batch-itr True every epoch has a new iterator (data/iterators.py), and an
    exception of omegaconf keeps the old one alive until the garbage collector runs, which then
    waits five seconds for its workers: short epochs take several times as long.
    """
    get_iterator_for_epoch = EpochBatchIterator._get_iterator_for_epoch

    @functools.wraps(get_iterator_for_epoch)
    def get_iterator_with_own_workers(self: EpochBatchIterator, *args: Any, **kwargs: Any) -> Any:
        self.persistent_workers = self.reuse_dataloader = False
        return get_iterator_for_epoch(self, *args, **kwargs)

    EpochBatchIterator._get_iterator_for_epoch = get_iterator_with_own_workers


def _batches(iterator: EpochBatchIterator) -> dict[str, int]:
    """A summary of the batches of the epoch and of their order, which the seed determines, and the
    number of processes that share them.
    """
    batches = iterator.frozen_batches
    sizes = np.array([len(batch) for batch in batches], dtype=np.int64)
    sentences = np.concatenate([np.asarray(batch, dtype=np.int64) for batch in batches])
    checksum = zlib.crc32(sentences.tobytes(), zlib.crc32(sizes.tobytes()))
    return {
        "number": len(batches),
        "checksum": checksum,
        "seed": iterator.seed,
        "processes": iterator.num_shards,
    }


def _place(iterator: EpochBatchIterator, state: dict[str, Any], saved: dict[str, int]) -> int:
    """The number of batches that each process skips; warns if it differs from the saved number."""
    now = _batches(iterator)
    done = state["iterations_in_epoch"] * saved["processes"]
    where = f"after {done} of {saved['number']} batches of epoch {state['epoch']}"
    if now == saved:
        return int(state["iterations_in_epoch"])
    same = all(now[what] == saved[what] for what in ("number", "checksum", "seed"))
    if not same or iterator.grouped_shuffling:  # which depends on the number of processes
        logger.warning(
            f"The checkpoint was written {where}, and the batches are not the same now "
            f"({now['number']} in {now['processes']} processes). The epoch begins again: some "
            "batches are trained a second time, but none is left out. Possible causes are "
            "different data, a different --seed, --batch-size, --max-tokens or "
            "--sample-break-mode, or training without --update-epoch-batch-itr True, which "
            "scripts/train.sh sets"
        )
        return 0
    iterations = done // now["processes"]
    again = done - iterations * now["processes"]
    logger.warning(
        f"The checkpoint was written {where} in {saved['processes']} processes. "
        f"Training resumes there in {now['processes']} processes"
        + (f"; the last {again} of these batches are trained a second time" if again else "")
    )
    return iterations
