"""The backend for GPUs: kernels in Triton, for cells whose gates and content see x_t only.

Triton is imported, and a kernel compiled, when the first layer runs.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import ops
from ..ablation import Ablation
from .fused import compute_dtype
from .fused import run as run  # what the registry takes

if TYPE_CHECKING:
    from . import Weights

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def why_not(cell: Ablation, x: Tensor, weights: Weights, padding_mask: Tensor | None) -> str | None:
    """Why these kernels cannot run this layer on this input, or None if they can."""
    if x.device.type != "cuda":
        return f"it runs on GPUs, and the input is on {x.device}"
    if cell.is_recurrent:
        return "its kernels are for cells without recurrent matrices"
    if compute_dtype(x) not in DTYPES:
        return f"it computes in float32, bfloat16 and float16, not in {compute_dtype(x)}"
    return why_missing()


@torch.compiler.assume_constant_result
def why_missing() -> str | None:
    """Why there are no kernels, or None where there are."""
    return None if find_spec("triton") else "triton is not installed: pip install triton"


def _gated_sum(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    from . import triton_gated_sum

    return triton_gated_sum.gated_sum(*arguments)


def _gated_sum_backward(*arguments: Any) -> tuple[Tensor, Tensor]:
    from . import triton_gated_sum

    return triton_gated_sum.gated_sum_backward(*arguments)


ops.implement("CUDA", {"gated_sum": _gated_sum, "gated_sum_backward": _gated_sum_backward})
