"""The iterator over the batches of parallel streams."""

from __future__ import annotations

from typing import Any

from fairseq.data.iterators import EpochBatchIterator

from .stream_states import StreamStates
from .token_stream import Sample, StreamBatches


class StreamIterator(EpochBatchIterator):
    """fairseq's iterator without shuffling. Its state dict includes the states of the streams.

    fairseq saves the state of the training iterator in every checkpoint and restores it when
    training resumes. It also saves a task's `state_dict`, but does not restore that for training.

    Args:
        batches: the batches.
        states: the hidden states of the streams.
        layout: the values, by option, that must not change if training resumes within an epoch.
        options: those of `EpochBatchIterator`.
    """

    def __init__(
        self,
        batches: StreamBatches,
        states: StreamStates,
        layout: dict[str, int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            dataset=batches,
            collate_fn=_only_item,
            batch_sampler=[[k] for k in range(len(batches))],
            disable_shuffling=True,
            **options,
        )
        self.groups = batches.groups
        self.states = states
        self.layout = layout or {}

    def state_dict(self) -> dict[str, Any]:
        """The position; within an epoch, also the layout and the states of the streams."""
        state = super().state_dict()
        if state["iterations_in_epoch"] > 0:  # at the start of an epoch all states are zero
            state["step"] = state["iterations_in_epoch"] // self.groups
            state["layout"] = self.layout
            state["stream_states"] = self.states.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved position.

        Raises:
            ValueError: the position is within an epoch, and the layout has changed.
        """
        state_dict = {**state_dict, "shuffle": False}
        state_dict.pop("batches", None)  # of compat/resuming.py; here `layout` takes its place
        states = state_dict.pop("stream_states", {})
        if state_dict.get("iterations_in_epoch", 0) > 0:
            self._check_layout(state_dict.get("layout") or {})
            # the number of processes, and with it the number of groups in each, may have changed
            state_dict["iterations_in_epoch"] = state_dict["step"] * self.groups
        super().load_state_dict(state_dict)
        self.states.load_state_dict(states)

    def _check_layout(self, saved: dict[str, int]) -> None:
        changed = [
            f"{name} was {saved.get(name, 'unknown')} and is {value} now"
            for name, value in self.layout.items()
            if saved.get(name) != value
        ]
        if changed:
            raise ValueError(
                "the checkpoint was written within an epoch with different streams, so training "
                f"cannot resume there: {'; '.join(changed)}. Give the same, or start in a "
                "new --save-dir with --finetune-from-model FILE"
            )


def _only_item(items: list[Sample]) -> Sample:
    (item,) = items
    return item
