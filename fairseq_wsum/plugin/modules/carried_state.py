"""The state of a language model, carried from one part of a text to the next."""

from __future__ import annotations

from torch import nn

from ...layer import State


class CarriedState:
    """Given to a model with each part of a text, it holds the state to go on from.

    A model takes the state at the start of a part and leaves the one at its end, detached: the
    gradient does not reach into earlier parts (truncated backpropagation). Several models that
    score a text together (fairseq's `eval_lm` takes a list) may use one and the same object: each
    finds what it has left itself.

    Args:
        start: (h, c), L x B x P and L x B x H, for a model that has left nothing yet; None is zero.
    """

    def __init__(self, start: State | None = None) -> None:
        self.start = start
        self.last: State | None = None  # what was left last, by whichever model
        self._left: dict[nn.Module, State] = {}

    def take(self, model: nn.Module) -> State | None:
        """The state that `model` goes on from; None is zero."""
        return self._left.get(model, self.start)

    def leave(self, model: nn.Module, state: State) -> None:
        """Keep the state that `model` has ended in."""
        self.last = self._left[model] = (state[0].detach(), state[1].detach())
