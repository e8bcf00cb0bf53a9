"""The floating-point operations of the operators, for torch's `torch.utils.flop_counter`.

Shapes are those in `operators`. As in torch, matrix products alone count, with two operations for
each multiplication.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import torch

Shape = tuple[int, ...]


@cache  # a second registration is an error
def register() -> None:
    """Make each `FlopCounterMode` that is created from now on count the operators.

    This is not done at import, as torch's counter imports Triton, which takes a third of a second.
    """
    from torch.utils.flop_counter import register_flop_formula

    ours = torch.ops.fairseq_wsum
    register_flop_formula(ours.linear)(_linear)
    register_flop_formula(ours.recurrence)(_recurrence)
    register_flop_formula(ours.recurrence_backward)(_recurrence_backward)


def _linear(x: Shape, weight: Shape, bias: Shape | None, **_: Any) -> int:
    return 2 * prod(x) * weight[0]


def _recurrence(z: Shape, w_hh: Shape, b_inner: Any, w_hr: Shape | None, *_: Any, **__: Any) -> int:
    time, batch, _rows = z
    return 2 * time * batch * (prod(w_hh) + prod(w_hr or (0,)))


def _recurrence_backward(*given: Any, **_: Any) -> int:
    """The products with the transposed matrices; those for their gradients are `linear`."""
    w_hh, w_hr, saved = given[3], given[4], given[8]
    return _recurrence(saved, w_hh, None, w_hr)
