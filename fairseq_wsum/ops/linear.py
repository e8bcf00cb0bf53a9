"""Linear maps: products with a weight, and the weight's gradient where a loop takes it many times.

In a loop over time the backward pass makes, for every weight, a product with few rows in each step,
and adds up the matrices that come out. `repeated` makes one product of them. So it does for what
attention reads in every step, which is a matrix for each sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from .products import as_rows, outer, product
from .transforms import in_autocast, in_transformation

Inputs = tuple[Tensor | None, ...]

_loop: ContextVar[_Loop | None] = ContextVar("loop", default=None)  # set within `repeated()`


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x W^T + b, as `torch.nn.functional.linear`: ... x K, N x K and N -> ... x N."""
    loop = _loop_of(weight)
    return product(x, weight, bias) if loop is None else loop.linear(x, weight, bias)


def bmm(x: Tensor, matrices: Tensor, transposed: bool = False) -> Tensor:
    """A matrix for each sequence: B x T x N and B x N x K (or K x N, `transposed`) -> B x T x K."""
    loop = _loop_of(matrices)
    if loop is None:
        return torch.bmm(x, _turned(matrices, transposed))
    return loop.bmm(x, matrices, transposed)


def _turned(matrices: Tensor, transposed: bool) -> Tensor:
    return matrices.transpose(1, 2) if transposed else matrices


def once(tensors: Inputs, make: Callable[..., Tensor | None]) -> Tensor | None:
    """`make(*tensors)`; within `repeated()`, what the first call with these tensors made."""
    loop = next(filter(None, (_loop_of(t) for t in tensors if t is not None)), None)
    return make(*tensors) if loop is None else loop.once(tensors, make)


def _loop_of(weight: Tensor) -> _Loop | None:
    """The loop that is to make the weight's gradient."""
    loop = None if torch.compiler.is_compiling() else _loop.get()
    if loop is None or not (weight.requires_grad and torch.is_grad_enabled()):
        return None
    # under autocast the types differ from product to product
    if in_autocast(weight.device) or in_transformation():
        return None
    return loop


class Linear(nn.Linear):
    """`torch.nn.Linear` by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


@contextmanager
def repeated() -> Iterator[None]:
    """Within it, all calls of `linear` or `bmm` with a weight share one product for its gradient.

    So weights must not change within. A second derivative of what is computed so is refused.
    Without effect under autocast, under `torch.func` and while tracing.
    """
    before = _loop.set(_Loop())
    try:
        yield
    finally:
        _loop.reset(before)


class _Uses:
    """The products of one weight, as backward passes go through them.

    Its gradient is a sum of a^T b; of each product it keeps a and b, whose last dimensions are the
    weight's. (All its leading ones, if the weight is a matrix for each sequence.)
    """

    def __init__(self) -> None:
        self.parts: dict[int, list[tuple[Tensor, Tensor]]] = {}  # by pass: one may call another

    def add(self, a: Tensor, b: Tensor) -> None:
        if torch.is_grad_enabled():  # some would be wrong without a word
            raise RuntimeError(
                "create_graph=True: there are no second derivatives of what is computed within "
                "linear.repeated(), such as a decoder with input feeding"
            )
        task = torch._C._current_graph_task_id()
        if task not in self.parts:
            self.parts[task] = []
            # the pass may not ask for this weight's gradient: nothing stays when it ends
            engine = torch.autograd.Variable._execution_engine
            engine.queue_callback(lambda: self._drop(task))
        self.parts[task].append((_detached(a), _detached(b)))

    def _drop(self, task: int) -> None:
        self.parts.pop(task, None)

    def gradients(self, of_bias: bool) -> tuple[Tensor | None, Tensor | None]:
        """Of the weight, and of what is added to its products, in the pass that runs."""
        parts = self.parts.pop(torch._C._current_graph_task_id(), None)
        if parts is None:
            return None, None
        a, b = (torch.cat(tensors, dim=-2) for tensors in zip(*parts, strict=True))
        dw = outer(a, b) if a.dim() == 2 else torch.bmm(a.transpose(1, 2), b)
        return dw, a.sum(0) if of_bias else None


def _detached(tensor: Tensor) -> Tensor:
    """Else it would hold the graph that holds it. (A batched gradient cannot be detached.)"""
    return tensor.detach() if tensor.requires_grad else tensor


class _Loop:
    """The weights of a loop and their uses, and what is made of weights once."""

    def __init__(self) -> None:
        # by the ids of the inputs, which are kept too, so that these stay their own
        self.weights: dict[tuple[int, ...], tuple[Inputs, Sequence[Tensor | None], _Uses]] = {}
        self.made: dict[tuple[int, ...], tuple[Inputs, Tensor | None]] = {}

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y: Tensor = _OneUse.apply(x, *self._uses(weight, bias))
        return y

    def bmm(self, x: Tensor, matrices: Tensor, transposed: bool) -> Tensor:
        alias, _, uses = self._uses(matrices, None)
        y: Tensor = _OneBatchUse.apply(x, alias, uses, transposed)
        return y

    def once(self, tensors: Inputs, make: Callable[..., Tensor | None]) -> Tensor | None:
        key = _ids(tensors)
        if key not in self.made:
            self.made[key] = tensors, make(*tensors)
        return self.made[key][1]

    def _uses(self, *inputs: Tensor | None) -> tuple[Tensor | None, Tensor | None, _Uses]:
        key = _ids(inputs)
        if key not in self.weights:
            uses = _Uses()
            self.weights[key] = inputs, _AllUses.apply(*inputs, uses), uses
        _, (weight, bias), uses = self.weights[key]
        return weight, bias, uses


def _ids(tensors: Inputs) -> tuple[int, ...]:
    return tuple(map(id, tensors))


class _AllUses(torch.autograd.Function):
    """A weight, and a bias, that are used many times; their gradients all at once."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor | None, uses: _Uses
    ) -> tuple[Tensor, Tensor | None]:
        ctx.uses = uses
        ctx.set_materialize_grads(False)
        return weight.view_as(weight), None if bias is None else bias.view_as(bias)

    @staticmethod
    def backward(ctx: Any, *_: None) -> tuple[Tensor | None, Tensor | None, None]:
        return *ctx.uses.gradients(ctx.needs_input_grad[1]), None


class _OneUse(torch.autograd.Function):
    """`linear` with them, which leaves its share of the gradients to `_AllUses`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, uses: _Uses) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.uses = uses
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, None, None, None]:
        x, weight = ctx.saved_tensors
        ctx.uses.add(as_rows(dy), as_rows(x))
        dx = product(dy, weight.t()) if ctx.needs_input_grad[0] else None
        return dx, None, None, None


class _OneBatchUse(torch.autograd.Function):
    """`bmm` with it, likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrices: Tensor, uses: _Uses, transposed: bool) -> Tensor:
        ctx.save_for_backward(x, matrices)
        ctx.uses, ctx.transposed = uses, transposed
        return torch.bmm(x, _turned(matrices, transposed))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, None, None, None]:
        x, matrices = ctx.saved_tensors
        ctx.uses.add(*((dy, x) if ctx.transposed else (x, dy)))
        wanted = ctx.needs_input_grad[0]
        dx = torch.bmm(dy, _turned(matrices, not ctx.transposed)) if wanted else None
        return dx, None, None, None
