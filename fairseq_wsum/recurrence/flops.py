"""The floating-point operations of the operators, for torch's `torch.utils.flop_counter`.

Shapes are those in `operators`. As in torch, matrix products alone count, with two operations for
each multiplication.
"""

from __future__ import annotations

from collections.abc import Callable
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

    formulas: dict[str, Callable[..., int]] = {
        "linear": _linear,
        "recurrence": _recurrence,
        "recurrence_backward": _recurrence_backward,
    }
    for name, formula in formulas.items():
        register_flop_formula(getattr(torch.ops.fairseq_wsum, name))(formula)


def _linear(x: Shape, weight: Shape, bias: Shape | None, **_: Any) -> int:
    return 2 * prod(x) * weight[0]


def _recurrence(z: Shape, w_hh: Shape, b_inner: Any, w_hr: Shape | None, *_: Any, **__: Any) -> int:
    time, batch, _rows = z
    return 2 * time * batch * (prod(w_hh) + prod(w_hr or (0,)))


def _recurrence_backward(
    dy: Any,
    dh_n: Any,
    dc_n: Any,
    w_hh: Shape,
    w_hr: Shape | None,
    h_0: Any,
    c_0: Any,
    padding_mask: Any,
    saved: Shape,
    *_: Any,
    **__: Any,
) -> int:
    """The products with the transposed matrices; those for their gradients are `linear`."""
    return _recurrence(saved, w_hh, None, w_hr)
