"""The states of all streams that a process reads, from one step to the next."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...layer import State
from ..modules import CarriedState
from .token_stream import Sample

logger = logging.getLogger(__name__)


class StreamStates:
    """For each group of streams the state after its last step, and the one before it.

    A sample says of which group it is and which step: step 0 starts from zero, every other from
    the state after the step before. So there is nothing to reset, training goes on after a
    validation as if there had been none, and a step that is done again (as fairseq does it with
    --amp when a gradient overflows) starts from where it started.
    """

    def __init__(self) -> None:
        self._kept: dict[int, dict[int, State]] = {}  # group -> the step to come -> state before it
        self._own: set[int] = set()  # groups that this process reads

    @contextmanager
    def carried(self, sample: Sample) -> Iterator[Sample]:
        """The sample with the state to go on from; the state it ends in is kept."""
        if "step" not in sample:  # a batch of sentences
            yield sample
            return
        group, step = sample["group"], sample["step"]
        before = self._before(group, step, sample["target"])
        carried = CarriedState(before)
        yield {**sample, "net_input": {**sample["net_input"], "carried_state": carried}}
        self._own.add(group)
        self._kept[group] = {} if before is None else {step: before}
        if carried.last is not None:
            self._kept[group][step + 1] = carried.last

    def _before(self, group: int, step: int, like: Tensor) -> State | None:
        if step == 0:
            return None
        state = self._kept.get(group, {}).get(step)
        if state is None or state[0].size(1) != len(like):
            logger.warning(
                f"step {step} of group {group} starts from a state of zero: there is none to go on "
                "from (after a step that ran out of memory, or a checkpoint that one of several "
                "processes has written without a validation)"
            )
            return None
        h, c = state
        return h.to(like.device), c.to(like.device)

    def gather(self, process_group: Any) -> None:
        """Get the states of all processes to each, as every one knows its own alone."""
        size = torch.distributed.get_world_size(process_group)
        gathered: list[Any] = [None] * size
        own = {group: state for group, state in self.state_dict().items() if group in self._own}
        torch.distributed.all_gather_object(gathered, own, group=process_group)
        for states in gathered:
            if states.keys() != own.keys():
                self.load_state_dict(states)

    def state_dict(self) -> dict[int, dict[int, State]]:
        """The state after the last step of each group: group -> the step to come -> (h, c)."""
        last = {}
        for group, states in self._kept.items():
            if states:
                step, (h, c) = max(states.items())
                last[group] = {step: (h.cpu(), c.cpu())}
        return last

    def load_state_dict(self, states: dict[int, dict[int, State]]) -> None:
        """Take up the states of a `state_dict`, beside those of other groups."""
        self._kept.update({group: dict(steps) for group, steps in states.items()})
