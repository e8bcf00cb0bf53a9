"""Where in an epoch a resumed training goes on, and an end for the data workers of an epoch."""

from __future__ import annotations

import functools
import logging
import weakref
import zlib
from typing import Any

import numpy as np
from fairseq.data.iterators import EpochBatchIterator

logger = logging.getLogger(__name__)


def apply() -> None:
    """Apply the shims of this file."""
    _go_on_at_the_right_batch()
    _end_workers_with_their_epoch()


def _go_on_at_the_right_batch() -> None:
    """fairseq's checkpoint holds the number of batches that a process has read in the epoch.

    With another number of processes, or other batches, that number stands for another place: some
    batches would be trained twice, and others never (data/iterators.py).
    """
    state_dict, load_state_dict = EpochBatchIterator.state_dict, EpochBatchIterator.load_state_dict

    @functools.wraps(state_dict)
    def state_dict_with_batches(self: EpochBatchIterator) -> dict[str, Any]:
        state = state_dict(self)
        if state["iterations_in_epoch"] > 0:
            state["batches"] = _batches(self)
        return state

    @functools.wraps(load_state_dict)
    def load_state_dict_at_its_place(self: EpochBatchIterator, state: dict[str, Any]) -> None:
        saved = state.get("batches")
        if state.get("iterations_in_epoch", 0) > 0 and saved is not None:
            self.epoch = state["epoch"]  # which the batches may depend on
            iterations = _place(self, state, saved)
            state = {**state, "iterations_in_epoch": iterations}
        load_state_dict(self, state)

    EpochBatchIterator.state_dict = state_dict_with_batches
    EpochBatchIterator.load_state_dict = load_state_dict_at_its_place


def _end_workers_with_their_epoch() -> None:
    """fairseq's iterator and its data loader refer to each other (data/iterators.py).

    So the garbage collector finds them when they are not needed any more, some time later, and then
    it waits up to five seconds for every worker. With --update-epoch-batch-itr True, where every
    epoch has an iterator of its own, short epochs would take several times as long.
    """
    get_iterator_for_epoch = EpochBatchIterator._get_iterator_for_epoch

    @functools.wraps(get_iterator_for_epoch)
    def get_iterator_without_cycle(self: EpochBatchIterator, *args: Any, **kwargs: Any) -> Any:
        iterator = get_iterator_for_epoch(self, *args, **kwargs)
        owner = weakref.ref(self)

        def ordered_batches(*of_epoch: Any) -> Any:
            alive = owner()
            assert alive is not None  # only it asks for another epoch
            return alive.ordered_batches(*of_epoch)

        self.epoch_batch_sampler.ordered_batches = ordered_batches
        return iterator

    EpochBatchIterator._get_iterator_for_epoch = get_iterator_without_cycle


def _batches(iterator: EpochBatchIterator) -> dict[str, int]:
    """What the place in an epoch is counted in: all batches of the epoch, and who shares them."""
    batches = iterator.frozen_batches
    sizes = np.array([len(batch) for batch in batches], dtype=np.int64)
    sentences = np.concatenate([np.asarray(batch, dtype=np.int64) for batch in batches])
    checksum = zlib.crc32(sentences.tobytes(), zlib.crc32(sizes.tobytes()))
    return {"number": len(batches), "checksum": checksum, "processes": iterator.num_shards}


def _place(iterator: EpochBatchIterator, state: dict[str, Any], saved: dict[str, int]) -> int:
    """How many batches each process has to pass over; says so where that is not what was saved."""
    now = _batches(iterator)
    done = state["iterations_in_epoch"] * saved["processes"]
    where = f"after {done} of {saved['number']} batches of epoch {state['epoch']}"
    if now == saved:
        return int(state["iterations_in_epoch"])
    same = all(now[what] == saved[what] for what in ("number", "checksum"))
    if not same or iterator.grouped_shuffling:  # which depends on the number of processes
        logger.warning(
            f"The checkpoint was written {where}, and the batches are not the same now "
            f"({now['number']} in {now['processes']} processes). The epoch begins again: what it "
            "had trained is trained a second time, and nothing is left out. Causes are other data, "
            "another --seed, --batch-size or --max-tokens, or a training without "
            "--update-epoch-batch-itr True, which scripts/train.sh gives"
        )
        return 0
    iterations = done // now["processes"]
    again = done - iterations * now["processes"]
    logger.warning(
        f"The checkpoint was written {where} in {saved['processes']} processes. "
        f"{now['processes']} processes go on there"
        + (f"; the last {again} of these batches are trained a second time" if again else "")
    )
    return iterations
