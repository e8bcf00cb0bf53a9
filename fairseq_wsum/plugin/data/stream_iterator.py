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
        layout: what must be the same for a training to go on within an epoch, by option.
        num_workers, epoch, buffer_size, skip_remainder_batch: as in `EpochBatchIterator`.
    """

    def __init__(
        self,
        batches: StreamBatches,
        states: StreamStates,
        layout: dict[str, int] | None = None,
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
        self.groups = batches.groups
        self.states = states
        self.layout = layout

    def state_dict(self) -> dict[str, Any]:
        """Where it is; within an epoch, also the layout and the states of the streams."""
        state = super().state_dict()
        state.pop("batches", None)  # their number says nothing here, the layout does
        if state["iterations_in_epoch"] > 0:  # an epoch starts from zero
            state["step"] = state["iterations_in_epoch"] // self.groups
            state["layout"] = self.layout
            state["stream_states"] = self.states.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: within an epoch, from streams of another layout.
        """
        state_dict = {**state_dict, "shuffle": False}
        if state_dict.get("iterations_in_epoch", 0) > 0:
            self._check_layout(state_dict.get("layout"))
            # other processes may share the streams out among themselves now
            state_dict["iterations_in_epoch"] = state_dict["step"] * self.groups
        super().load_state_dict(state_dict)
        self.states.load_state_dict(state_dict.get("stream_states", {}))

    def _check_layout(self, saved: dict[str, int] | None) -> None:
        if saved == self.layout:
            return
        saved = saved or {}
        changed = [
            f"{name} was {saved.get(name, 'unknown')} and is {value} now"
            for name, value in (self.layout or {}).items()
            if saved.get(name) != value
        ]
        raise ValueError(
            "the checkpoint was written within an epoch of other streams, so there is no place to "
            f"go on from: {'; '.join(changed)}. Give the same, or --reset-dataloader to begin the "
            "training data again"
        )


def _only_item(items: list[Sample]) -> Sample:
    (item,) = items
    return item
