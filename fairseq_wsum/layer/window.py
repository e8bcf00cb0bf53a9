"""The previous inputs, for cells with a window of 2.

Shapes: T time steps, B sequences, I input features, D directions, F the sum of the layers' I.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..recurrence.padding import last_step, states_before


class LastInputs:
    """The inputs x_{t-1} of all layers, for a window of 2.

    Args:
        state: the last inputs before the sequence, D x B x F; F lists the layers.
        padding_mask: True at padding, T x B.
    """

    def __init__(self, state: Tensor, padding_mask: Tensor | None) -> None:
        self.unread = list(state.unbind())
        self.padding_mask = padding_mask
        self.last: list[list[Tensor]] = [[] for _ in self.unread]

    def join(self, x: Tensor, reverse: bool) -> Tensor:
        """x_t and x_{t-1} of the next layer, side by side: T x B x I -> T x B x 2*I."""
        first, self.unread[reverse] = self.unread[reverse].tensor_split((x.size(-1),), dim=-1)
        first = first.to(x.dtype)
        self.last[reverse].append(last_step(x, first, self.padding_mask, reverse))
        return torch.cat((x, states_before(x, first, self.padding_mask, reverse)), dim=-1)

    def state(self) -> Tensor:
        """The last inputs of the sequence, D x B x F."""
        return torch.stack([torch.cat(parts, dim=-1) for parts in self.last])
