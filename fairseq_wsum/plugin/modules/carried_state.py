"""The state of a language model, carried from one part of a text to the next."""

from __future__ import annotations

from torch import nn

from ...cells.precision import wide
from ...layer import State


class CarriedState:
    """Holds the state between the parts of a text. A model receives it with each part.

    A model takes the state at the start of a part and leaves its state at the end, detached, so
    that the gradient does not reach earlier parts (truncated backpropagation). Several models that
    score a text together, as in fairseq's `eval_lm`, can share one object, which keeps a separate
    state for each model.

    Args:
        start: the initial state of the layers, such as (h, c), with the shapes of states.py; None
            for zero.
    """

    def __init__(self, start: State | None = None) -> None:
        self.start = start
        self.last: State | None = None  # the state left most recently, by any model
        self._left: dict[nn.Module, State] = {}

    def take(self, model: nn.Module) -> State | None:
        """The state from which `model` continues; None for zero."""
        if model in self._left or self.start is None:
            return self._left.get(model)
        parameter = next(model.parameters(), None)
        if parameter is None:  # they are sharded
            return self.start
        dtype = parameter.dtype  # a training may continue in another precision
        h, c, *inputs = self.start
        return (h.to(dtype), c.to(wide(dtype)), *(part.to(dtype) for part in inputs))

    def leave(self, model: nn.Module, state: State) -> None:
        """Store the final state of `model`."""
        self.last = self._left[model] = tuple(part.detach() for part in state)
