"""The types of a layer's states, and of what it reports to a caller's `record`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from ..recurrence import Inputs

# (h, c); with a window of 2 (h, c, x), see `WsumLSTM.forward`
State = tuple[Tensor, ...]


class Pass(NamedTuple):
    """One direction of one layer over a batch.

    Attributes:
        layer: the index of the layer, from 0.
        given: what the backend was given.
        y: the output, T x B x P.
        c_n: the last memory cell, B x H.
    """

    layer: int
    given: Inputs
    y: Tensor
    c_n: Tensor


Record = Callable[[Pass], None]
