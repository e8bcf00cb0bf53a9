"""Code shared by the Triton kernels."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# Arguments that Triton must not specialise on, so that new values need no compilation. The number
# of units is a compile-time constant instead, because Triton derives the width of vectorised
# accesses from it.
RUN_TIME_VALUES = ("T", "B", "length", "chunks", "first", "last")


@triton.jit
def sigmoid(x):  # type: ignore[no-untyped-def]
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):  # type: ignore[no-untyped-def]
    # use the Taylor series near 0, where 1 - 2 / (e^2x + 1) loses precision
    s = x * x
    near = x * (1.0 + s * (-0.33333333 + s * (0.13333333 - s * 0.053968254)))
    far = 1.0 - 2.0 / (tl.exp(2.0 * tl.minimum(tl.maximum(x, -15.0), 15.0)) + 1.0)
    return tl.where(s < 0.01, near, tl.where(x != x, x, far))


def as_bytes(padding_mask: Tensor | None, other: Tensor) -> Tensor:
    """The mask as bytes, or `other` as a placeholder argument if there is no mask."""
    return other if padding_mask is None else padding_mask.contiguous().view(torch.uint8)
