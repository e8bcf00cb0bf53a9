"""The types of a layer's states, and of what it reports to a caller's `record`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from ..cells import Cell
from ..recurrence import Parameters

# (h, c); with a window of 2 (h, c, x), see `WsumLSTM.forward`
State = tuple[Tensor, ...]


class Pass(NamedTuple):
    """One direction of one layer over a batch.

    Attributes:
        layer: the index of the layer, from 0.
        cell, x, p, h_0, c_0, padding_mask, reverse: what the backend was given, its `Inputs`.
        y: the output, T x B x P.
        c_n: the last memory cell, B x H.
    """

    layer: int
    cell: Cell
    x: Tensor
    p: Parameters
    h_0: Tensor
    c_0: Tensor
    padding_mask: Tensor | None
    reverse: bool
    y: Tensor
    c_n: Tensor


Record = Callable[[Pass], None]
