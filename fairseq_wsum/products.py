"""Matrix products on the CPU, in 32 bits, by the faster of the two libraries that torch has.

torch takes MKL for them. On AMD processors oneDNN, which torch has too, may be much faster. So the
first product of each kind measures it, once, in some milliseconds. The one that wins at even
strength is the same every time, so that the choice, and with it the last bits of a result, does not
change from run to run. FAIRSEQ_WSUM_PRODUCTS=mkl or =onednn in the environment decides it.

Both libraries bring a matrix into a layout of their own before they compute, in every product. With
few rows, as in decoding, that takes longer than the product: `keep_ready` does it once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.weak import WeakIdKeyDictionary

from .compiling import constant

CLEARLY = 1.2  # times as fast
VARIABLE = "FAIRSEQ_WSUM_PRODUCTS"

_choices: dict[str, bool] = {}  # by the name of a product: whether oneDNN computes it
_ready = WeakIdKeyDictionary()  # a weight -> `_Ready`
_loop: ContextVar[_Loop | None] = ContextVar("loop", default=None)  # set within `repeated()`


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x W^T + b, as `torch.nn.functional.linear`: ... x K, N x K and N -> ... x N."""
    loop = None if torch.compiler.is_compiling() else _loop.get()
    if loop is not None and weight.requires_grad and torch.is_grad_enabled():
        return loop.linear(x, weight, bias)
    return _linear(x, weight, bias)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    suits = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    if not suits or x.numel() == 0 or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    if not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        ready = _ready.get(weight)
        if ready is not None and ready.is_of(weight):
            return _onednn(x, ready.packed, bias)
    if uses_onednn("linear"):
        y: Tensor = torch.ops.fairseq_wsum.linear(x, weight, bias)
        return y
    return F.linear(x, weight, bias)


def outer(a: Tensor, b: Tensor) -> Tensor:
    """The sum over rows of a_m b_m^T, as in a weight's gradient: M x N and M x K -> N x K."""
    suits = a.device.type == "cpu" and a.dtype == b.dtype == torch.float32
    if suits and a.numel() > 0 and not torch.is_autocast_enabled("cpu") and uses_onednn("outer"):
        return linear(b.t(), a.t()).t()  # oneDNN copies what is on the left: take the narrower
    return a.t() @ b


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
        _ready[weight] = _Ready(weight)


class _Ready:
    """A copy of a weight in oneDNN's layout."""

    def __init__(self, weight: Tensor) -> None:
        self.source = weight.detach()  # without it other values could come to the same address
        self.version = weight._version
        self.packed = torch.ops.mkldnn._reorder_linear_weight(self.source)

    def is_of(self, weight: Tensor) -> bool:
        """Whether the weight is still what was copied."""
        return weight.data_ptr() == self.source.data_ptr() and weight._version == self.version


class Linear(nn.Linear):
    """`torch.nn.Linear` by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


# One gradient for many products


@contextmanager
def repeated() -> Iterator[None]:
    """Within it, products with the same weight share one product for the weight's gradient.

    For a loop over time. Else the backward pass makes a product with few rows in every step, and
    adds up matrices. There are no second derivatives of what is computed so. Without effect under
    autocast and while tracing.
    """
    autocast = torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
    before = _loop.set(None if autocast else _Loop())
    try:
        yield
    finally:
        _loop.reset(before)


class _Uses:
    """The products of one weight, as a backward pass goes through them: dy and x of each."""

    def __init__(self) -> None:
        self.parts: list[tuple[Tensor, Tensor]] = []
        self.task = -1

    def add(self, dy: Tensor, x: Tensor) -> None:
        task = torch._C._current_graph_task_id()
        if task != self.task:  # an earlier pass may not have asked for this weight's gradient
            self.parts.clear()
        self.task = task
        self.parts.append((dy, x))

    def gradient(self) -> Tensor | None:
        """Of the weight."""
        if not self.parts:
            return None
        dy, x = (torch.cat(tensors) for tensors in zip(*self.parts, strict=True))
        self.parts.clear()
        return outer(dy, x)


class _Loop:
    """The weights of a loop, each with its uses, which the backward pass collects."""

    def __init__(self) -> None:
        self.weights: dict[int, tuple[Tensor, Tensor, _Uses]] = {}

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if id(weight) not in self.weights:
            uses = _Uses()
            # the weight itself is kept too, so that its id stays its own
            self.weights[id(weight)] = weight, _AllUses.apply(weight, uses), uses
        _, alias, uses = self.weights[id(weight)]
        y: Tensor = _OneUse.apply(x, alias, bias, uses)
        return y


class _AllUses(torch.autograd.Function):
    """A weight that is used many times; its gradient in one product."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, uses: _Uses) -> Tensor:
        ctx.uses = uses
        ctx.set_materialize_grads(False)
        return weight.view_as(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: None) -> tuple[Tensor | None, None]:
        return ctx.uses.gradient(), None


class _OneUse(torch.autograd.Function):
    """A product with it, which leaves its share of the gradient to `_AllUses`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, uses: _Uses) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.uses = uses
        return _linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        rows = dy.reshape(-1, dy.size(-1))
        ctx.uses.add(rows, x.reshape(-1, x.size(-1)))
        dx = _linear(dy, weight.t()) if ctx.needs_input_grad[0] else None
        return dx, None, rows.sum(0) if ctx.needs_input_grad[2] else None, None


# The choice


@constant
def uses_onednn(product: str = "linear") -> bool:
    """Whether oneDNN computes it: `linear` or `outer`. The first call may measure."""
    if product not in _choices:
        _choices[product] = _choose(product)
    return _choices[product]


def _choose(product: str) -> bool:
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
        a = torch.linspace(-1, 1, 512 * 512, **options).view(512, 512)
        b = a.flip(0).contiguous()
        if product == "linear":
            onednn, mkl = _seconds(_onednn, F.linear, a, b)
            return onednn < CLEARLY * mkl
        onednn, mkl = _seconds(_onednn_outer, lambda a, b: a.t() @ b, a, b)
        return CLEARLY * onednn < mkl


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _seconds(product: Any, other: Any, a: Tensor, b: Tensor) -> list[float]:
    """The shortest of some runs of each: what else the machine does makes the others longer."""
    times: list[list[float]] = [[], []]
    for _ in range(8):
        for run, compute in zip(times, (product, other), strict=True):
            start = time.perf_counter()
            compute(a, b)
            run.append(time.perf_counter() - start)
    return [min(run) for run in times]


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if not (weight.is_mkldnn or weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()  # a thousand times as fast as oneDNN with a part of a matrix
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def _onednn_outer(a: Tensor, b: Tensor) -> Tensor:
    return _onednn(b.t(), a.t()).t().contiguous()  # as a parameter's .grad will have it


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
        dw = outer(dy, x)
    if ctx.needs_input_grad[2]:
        db = dy.sum(0)
    return dx, dw, db


torch.library.register_fake("fairseq_wsum::linear", _fake, lib=_LIBRARY)
torch.library.register_autograd(
    "fairseq_wsum::linear", _gradient, setup_context=_save, lib=_LIBRARY
)
