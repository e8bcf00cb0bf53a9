"""Matrix products on the CPU, in 32 bits, by the faster of the two libraries that torch has.

torch takes MKL for them. On some AMD processors oneDNN, which torch has too, is twice as fast;
elsewhere they are even. So the first product measures it, once, in some milliseconds. oneDNN is
taken where it is clearly faster, so that the choice, and with it the last bits of a result, does
not change from run to run. FAIRSEQ_WSUM_PRODUCTS=mkl or =onednn in the environment decides it.
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.weak import WeakIdKeyDictionary

from .compiling import constant

CLEARLY = 1.3  # times as fast
VARIABLE = "FAIRSEQ_WSUM_PRODUCTS"

_uses_onednn: bool | None = None  # not known yet
_ready = WeakIdKeyDictionary()  # a weight -> (its state at that time, it in oneDNN's layout)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x W^T + b, as `torch.nn.functional.linear`: ... x K, N x K and N -> ... x N."""
    suits = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    if not suits or x.numel() == 0 or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    if not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        state, ready = _ready.get(weight, (None, None))
        if ready is not None and state == _state(weight):
            return _onednn(x, ready, bias)
    if uses_onednn():
        y: Tensor = torch.ops.fairseq_wsum.linear(x, weight, bias)
        return y
    return F.linear(x, weight, bias)


def keep_ready(weight: Tensor) -> None:
    """Let products with this weight that need no gradient read a copy of it in oneDNN's layout.

    For a program that takes a weight many times as it is, such as one that decodes. The copy is as
    large as the weight. Once the weight has changed it is not read any more; but a change through
    `weight.data` cannot be seen. Without effect where oneDNN is not there or not wanted, on other
    devices than the CPU, and in other types than 32 bits.

    Args:
        weight: as `linear` takes it, N x K.
    """
    suits = weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() > 0
    if suits and os.environ.get(VARIABLE) != "mkl" and _has_onednn():
        ready = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        _ready[weight] = (_state(weight), ready)


def _state(weight: Tensor) -> tuple[int, int]:
    """What is different once the weight is."""
    return weight.data_ptr(), weight._version


class Linear(nn.Linear):
    """`torch.nn.Linear` by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


@constant
def uses_onednn() -> bool:
    """Whether products are oneDNN's. The first call may measure."""
    global _uses_onednn
    if _uses_onednn is None:
        _uses_onednn = _choose()
    return _uses_onednn


def _choose() -> bool:
    wanted = os.environ.get(VARIABLE)
    if wanted not in (None, "mkl", "onednn"):
        raise ValueError(f"{VARIABLE}={wanted}: choose from mkl, onednn, or leave it out")
    there = _has_onednn()
    if wanted == "onednn" and not there:
        raise RuntimeError(f"{VARIABLE}=onednn: this build of torch has no oneDNN")
    if wanted is not None or not there:
        return wanted == "onednn"
    # whatever is being traced, and whatever the program's defaults are: real tensors of our own
    options: dict[str, Any] = dict(dtype=torch.float32, device="cpu")
    with _disable_current_modes(), torch.no_grad():
        x = torch.linspace(-1, 1, 512 * 512, **options).view(512, 512)
        weight = x.flip(0).contiguous()
        return _seconds(F.linear, x, weight) > CLEARLY * _seconds(_onednn, x, weight)


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _seconds(product: Any, x: Tensor, weight: Tensor) -> float:
    """The shortest of some runs: what else the machine does makes the others longer."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        product(x, weight)
        times.append(time.perf_counter() - start)
    return min(times)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


# The operator

_LIBRARY = torch.library.Library("fairseq_wsum", "FRAGMENT")
_LIBRARY.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
_LIBRARY.impl("linear", _onednn, "CPU")


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.size(0)))


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])


def _gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    dx = dw = db = None
    if ctx.needs_input_grad[0]:
        dx = linear(dy, weight.t())
    dy, x = dy.reshape(-1, dy.size(-1)), x.reshape(-1, x.size(-1))
    if ctx.needs_input_grad[1]:
        dw = linear(dy.t(), x.t())
    if ctx.needs_input_grad[2]:
        db = dy.sum(0)
    return dx, dw, db


torch.library.register_fake("fairseq_wsum::linear", _fake, lib=_LIBRARY)
torch.library.register_autograd(
    "fairseq_wsum::linear", _gradient, setup_context=_save, lib=_LIBRARY
)
