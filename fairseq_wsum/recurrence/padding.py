"""Zeros at padding, and the states before each step and after the last when some are padding.

Shapes: T time steps, B sequences, P features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def zero_at_padding(x: Tensor, padding_mask: Tensor | None) -> Tensor:
    """x, T x B x P, with zeros where `padding_mask`, T x B, is True."""
    return x if padding_mask is None else x.masked_fill(padding_mask.unsqueeze(-1), 0)


def last_step(y: Tensor, first: Tensor, padding_mask: Tensor | None, reverse: bool) -> Tensor:
    """The state after the last step that is not padding, B x P.

    It is `first` for sequences that are all padding. The arguments are those of `states_before`.
    """
    n = y.size(0)
    if padding_mask is None:
        # The gradient of an index is a new tensor with zeros, at every target position with input
        # feeding. That of squeeze is a view.
        return y.squeeze(0) if n == 1 else y[0 if reverse else -1]
    steps = torch.arange(n, device=y.device).unsqueeze(-1)  # T x 1
    if reverse:
        last = steps.masked_fill(padding_mask, n).amin(0)
    else:
        last = steps.masked_fill(padding_mask, -1).amax(0)
    index = last.clamp(0, n - 1).view(1, -1, 1).expand(1, -1, y.size(-1))
    none = padding_mask.all(0).unsqueeze(-1)
    return torch.where(none, first, y.gather(0, index).squeeze(0))


def states_before(y: Tensor, first: Tensor, padding_mask: Tensor | None, reverse: bool) -> Tensor:
    """The state before every step: the output at the last step that is not padding.

    Args:
        y: the state after every step, T x B x P; its values at padding are not read.
        first: the state before the first step, B x P.
        padding_mask: True at padding, T x B.
        reverse: whether time runs backwards.
    """
    if reverse:
        mask = None if padding_mask is None else padding_mask.flip(0)
        return states_before(y.flip(0), first, mask, False).flip(0)
    states = torch.cat((first[None], y))
    if padding_mask is None:
        return states[:-1]
    # no `len`: torch.export would fix the number of steps
    steps = torch.arange(1, y.size(0) + 1, device=y.device).unsqueeze(-1)  # indices in `states`
    last = steps.masked_fill(padding_mask, 0).cummax(0).values  # T x B
    last = F.pad(last, (0, 0, 1, 0))[:-1]
    return states.gather(0, last.unsqueeze(-1).expand_as(y))
