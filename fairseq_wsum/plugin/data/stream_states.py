"""The hidden states of all streams of a process, carried from step to step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...layer import State
from ..modules.states import CarriedState
from .token_stream import Sample

logger = logging.getLogger(__name__)


class StreamStates:
    """Stores, for each group of streams, the states before and after the latest step.

    Each sample contains its group and its step. Step 0 starts from zero, and every other step from
    the state after the previous step. So no reset is needed, validation does not affect training,
    and a repeated step (fairseq repeats a step with --amp when a gradient overflows) starts from
    the same state again.
    """

    def __init__(self) -> None:
        # group -> step -> state before that step; None is a state of zero
        self._kept: dict[int, dict[int, State | None]] = {}
        self._own: set[int] = set()  # groups that this process reads

    @contextmanager
    def carried(self, sample: Sample) -> Iterator[Sample]:
        """Context manager: add the initial state to the sample, and store its final state."""
        if "step" not in sample:  # a batch of sentences
            yield sample
            return
        group, step = sample["group"], sample["step"]
        before = self._before(group, step, sample["target"])
        carried = CarriedState(before)
        yield {**sample, "net_input": {**sample["net_input"], "carried_state": carried}}
        self._own.add(group)
        self._kept[group] = {step: before, step + 1: carried.last}

    def _before(self, group: int, step: int, like: Tensor) -> State | None:
        if step == 0:
            return None
        state = self._kept.get(group, {}).get(step)
        if state is None or state[0].size(1) != len(like):
            logger.warning(
                f"step {step} of group {group} starts from a state of zero, because there is no "
                "state of the previous step (it ran out of memory, or the checkpoint was written "
                "by one of several processes without a validation)"
            )
            return None
        return tuple(part.to(like.device) for part in state)

    def gather(self, process_group: Any) -> None:
        """Exchange the states between processes, because each has only those of its own groups."""
        size = torch.distributed.get_world_size(process_group)
        gathered: list[Any] = [None] * size
        own = {group: state for group, state in self.state_dict().items() if group in self._own}
        torch.distributed.all_gather_object(gathered, own, group=process_group)
        for states in gathered:
            if states.keys() != own.keys():
                self.load_state_dict(states)

    def state_dict(self) -> dict[int, dict[int, State | None]]:
        """The state after the latest step of each group: group -> next step -> state."""
        last: dict[int, dict[int, State | None]] = {}
        for group, states in self._kept.items():
            step = max(states)
            state = states[step]
            last[group] = {step: state and tuple(part.cpu() for part in state)}
        return last

    def load_state_dict(self, states: dict[int, dict[int, State | None]]) -> None:
        """Load the states of a `state_dict`. The states of all other groups are kept."""
        self._kept.update({group: dict(steps) for group, steps in states.items()})
