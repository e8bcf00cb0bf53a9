"""Which values have at least 32 bits, whatever the type of a layer.

They are the pre-activations, and with them the gates, the vectors and the memory cell. In 16 bits a
gate near 1 would be rounded to 1. The memory cell is a long sum, and would lose small late
contributions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type itself if it has at least 32 bits, else float32."""
    return torch.promote_types(dtype, torch.float32)


def widened(x: Tensor) -> Tensor:
    """Convert a tensor to at least 32 bits."""
    return x.to(wide(x.dtype))
