"""The state of a layer between the steps of decoding, or between the parts of a text.

Shapes: L layers, D directions, B sequences, P features of h, H hidden units. A state is h,
L*D x B x P, and c, L*D x B x H; with a window of 2 there are the last inputs, too.
"""

from __future__ import annotations

from fairseq.incremental_decoding_utils import FairseqIncrementalState
from torch import Tensor, nn

from ...cells.precision import wide, widened
from ...layer import State, WsumLSTM

IncrementalState = dict[str, dict[str, Tensor | None]]

CACHED = "cached_state"  # the key of a module's entry in an `IncrementalState`
_PARTS = ("prev_hiddens", "prev_cells", "prev_inputs")


def pack_state(state: State) -> dict[str, Tensor | None]:
    """The entries for a state of the layers in fairseq's incremental state."""
    return dict(zip(_PARTS, state, strict=False))


def unpack_state(cached: dict[str, Tensor | None]) -> State:
    """The state in the entries of `pack_state`; an empty tuple if there is none."""
    parts = (cached.get(name) for name in _PARTS)
    return tuple(part for part in parts if part is not None)


def zero_state(lstm: WsumLSTM, x: Tensor) -> State:
    """The state before the first step of x, T x B x I: zeros, for c in at least 32 bits."""
    slots = lstm.num_layers * lstm.num_directions
    h, c = (x.new_zeros(slots, x.size(1), size) for size in (lstm.output_size, lstm.hidden_size))
    return h, widened(c)


def reorder_state(state: State, new_order: Tensor) -> State:
    """Select the hypotheses `new_order`, for beam search: the batch is dimension 1 of each part."""
    return tuple(part.index_select(1, new_order) for part in state)


class StateCache(FairseqIncrementalState):
    """A module whose state fairseq's incremental state holds between the steps of decoding."""

    def cached_state(self, incremental_state: IncrementalState | None) -> State | None:
        """The state after the latest step; None before the first one."""
        cached = self.get_incremental_state(incremental_state, CACHED)
        return None if cached is None else unpack_state(cached)

    def cache_state(self, incremental_state: IncrementalState | None, state: State) -> None:
        """Store the state, if there is an `incremental_state`."""
        self.set_incremental_state(incremental_state, CACHED, pack_state(state))

    def reorder_incremental_state(
        self, incremental_state: IncrementalState, new_order: Tensor
    ) -> None:
        """Select the hypotheses `new_order`, for beam search."""
        state = self.cached_state(incremental_state)
        if state is not None:
            self.cache_state(incremental_state, reorder_state(state, new_order))


class CarriedState:
    """Holds the state between the parts of a text. A model receives it with each part.

    A model takes the state at the start of a part and leaves its state at the end, detached, so
    that the gradient does not reach earlier parts (truncated backpropagation). Several models that
    score a text together, as in fairseq's `eval_lm`, can share one object, which keeps a separate
    state for each model.

    Args:
        start: the initial state of the layers, such as (h, c), with the shapes of this file;
            None for zero.
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
