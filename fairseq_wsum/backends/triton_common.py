"""What the Triton kernels have in common."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# Sizes that are never compiled in. The number of units is: from it Triton knows how many neighbours
# one access may take.
RUN_TIME_VALUES = ("T", "B", "length", "chunks", "first", "last")


@triton.jit
def sigmoid(x):  # type: ignore[no-untyped-def]
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):  # type: ignore[no-untyped-def]
    # near 0 by its series, as 1 - 2 / (e^2x + 1) would lose the small ones
    s = x * x
    near = x * (1.0 + s * (-0.33333333 + s * (0.13333333 - s * 0.053968254)))
    far = 1.0 - 2.0 / (tl.exp(2.0 * tl.minimum(tl.maximum(x, -15.0), 15.0)) + 1.0)
    return tl.where(s < 0.01, near, tl.where(x != x, x, far))


def as_bytes(padding_mask: Tensor | None, other: Tensor) -> Tensor:
    """The mask as bytes; where there is none, something that a kernel may be given."""
    return other if padding_mask is None else padding_mask.contiguous().view(torch.uint8)
