"""The state of a layer between the steps of decoding, or between the parts of a text."""

from __future__ import annotations

from torch import Tensor

from ...backends.reference import widened
from ...layer import State, WsumLSTM

IncrementalState = dict[str, dict[str, Tensor | None]]
_PARTS = ("prev_hiddens", "prev_cells", "prev_inputs")


def pack_state(state: State) -> dict[str, Tensor | None]:
    """The entries for a state of the layers in fairseq's incremental state."""
    return dict(zip(_PARTS, state, strict=False))


def unpack_state(cached: dict[str, Tensor | None]) -> State:
    """The state in the entries of `pack_state`."""
    parts = (cached.get(name) for name in _PARTS)
    return tuple(part for part in parts if part is not None)


def zero_state(lstm: WsumLSTM, x: Tensor) -> State:
    """The state before the first step of x, T x B x I: h, and c in at least 32 bits."""
    slots = lstm.num_layers * lstm.num_directions
    h, c = (x.new_zeros(slots, x.size(1), size) for size in (lstm.output_size, lstm.hidden_size))
    return h, widened(c)


def reorder_state(state: State, new_order: Tensor) -> State:
    """Select the hypotheses `new_order`, for beam search."""
    return tuple(part.index_select(1, new_order) for part in state)
