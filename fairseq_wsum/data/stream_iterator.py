"""Goes through the batches of streams in order."""

from __future__ import annotations

from typing import Any

from fairseq.data.iterators import EpochBatchIterator

from .stream_states import StreamStates
from .token_stream import Sample, StreamBatches


class StreamIterator(EpochBatchIterator):
    """fairseq's iterator, without shuffling; its state has those of the streams in it.

    fairseq writes the state of the iterator over the training data into every checkpoint, and
    hands it back when training goes on. (What a task's `state_dict` says, it writes too, but it
    does not hand it back to a training.)

    Args:
        batches: the batches.
        states: the states of their streams.
        num_workers, epoch, buffer_size, skip_remainder_batch: as in `EpochBatchIterator`.
    """

    def __init__(
        self,
        batches: StreamBatches,
        states: StreamStates,
        *,
        num_workers: int = 0,
        epoch: int = 1,
        buffer_size: int = 0,
        skip_remainder_batch: bool = False,
    ) -> None:
        super().__init__(
            dataset=batches,
            collate_fn=_only_item,
            batch_sampler=[[k] for k in range(len(batches))],
            num_workers=num_workers,
            epoch=epoch,
            buffer_size=buffer_size,
            disable_shuffling=True,
            skip_remainder_batch=skip_remainder_batch,
        )
        self.states = states

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        if state["iterations_in_epoch"] > 0:  # an epoch starts from zero
            state["stream_states"] = self.states.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.states.load_state_dict(state_dict.get("stream_states", {}))


def _only_item(items: list[Sample]) -> Sample:
    (item,) = items
    return item
