"""One gradient for a matrix that every step of a loop multiplies by.

In a loop over time, autograd computes the gradient of a matrix once for each step. It makes T
products with few rows each, and adds them up with T - 1 sums. Inside `joint_gradients`, one
product over the rows of all steps gives the gradient. In 16 bits it is rounded once. How much
faster that is: benchmarks/gains.py.

Shapes: T steps, K inputs, N outputs. x and y are those of one step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..kernels import no_second_derivatives
from ..products import as_rows, product, weight_gradient
from ..transforms import in_autocast, in_transformation


def joint_gradients() -> AbstractContextManager[object]:
    """A context for a loop, in which each matrix gets one gradient for all steps.

    It joins the gradients of matrices that are the second operand of `torch.nn.functional.linear`,
    with a bias of one dimension, or of `torch.bmm`. Two views of a tensor count as one matrix if
    they have the same offset, shape and strides. So do not use a custom Function that returns a
    view of a matrix, and do not put hooks on such views. Autocast, `torch.func` and `torch.compile`
    get the plain products.

    Values and gradients change by rounding only. All steps form one graph: a backward
    pass through one step also frees the earlier ones, unless it retains the graph. Second
    derivatives are an error.
    """
    return _JointGradients() if torch.is_grad_enabled() else nullcontext()


class _Kind(NamedTuple):
    """A product and its gradients: y from (x, matrix, bias), dx from (dy, matrix), and that of the
    matrix from the x and dy of all steps."""

    product: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    input_gradient: Callable[[Tensor, Tensor], Tensor]
    gradient: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]


def _gradient_of_linear(x: Sequence[Tensor], dy: Sequence[Tensor]) -> Tensor:
    return weight_gradient(torch.cat([as_rows(d) for d in dy]), torch.cat([as_rows(v) for v in x]))


def _gradient_of_bmm(x: Sequence[Tensor], dy: Sequence[Tensor]) -> Tensor:
    return torch.bmm(torch.cat(tuple(x), dim=1).transpose(1, 2), torch.cat(tuple(dy), dim=1))


# y = x W^T + b: ... x K and N x K -> ... x N
_LINEAR = _Kind(product, lambda dy, w: product(dy, w.t()), _gradient_of_linear)
# y_b = x_b W_b for each b: B x R x K and B x K x N -> B x R x N
_BMM = _Kind(
    lambda x, w, bias: torch.bmm(x, w),
    lambda dy, w: torch.bmm(dy, w.transpose(1, 2)),
    _gradient_of_bmm,
)
_KINDS: dict[Callable[..., Any], _Kind] = {
    F.linear: _LINEAR,
    torch.ops.fairseq_wsum.linear: _LINEAR,
    torch.bmm: _BMM,
}

# Tokens link the steps of a matrix. A token is an empty tensor. Each step takes the token of the
# step before and makes the next one. So a backward pass visits the steps from the last to the
# first, and then `_Begin`. On its way it collects x and dy of each step in `visited`.
_Visited = list[tuple[Tensor, Tensor]]


class _Begin(torch.autograd.Function):
    """The token for the first step. Its backward pass comes after those of all steps."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, kind: _Kind, visited: _Visited) -> Tensor:
        ctx.kind, ctx.visited = kind, visited
        return matrix.new_empty(0)

    @staticmethod
    def backward(ctx: Any, token: Tensor) -> tuple[Tensor | None, None, None]:
        dmatrix = None
        if ctx.visited:
            dmatrix = ctx.kind.gradient(*zip(*ctx.visited, strict=True))
            ctx.visited.clear()
        return dmatrix, None, None


class _Step(torch.autograd.Function):
    """The product of one step, and the token for the next one."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        matrix: Tensor,
        bias: Tensor | None,
        token: Tensor,
        kind: _Kind,
        visited: _Visited,
    ) -> tuple[Tensor, Tensor]:
        ctx.kind, ctx.visited = kind, visited
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, matrix)
        return kind.product(x, matrix, bias), token.new_empty(0)

    @staticmethod
    def backward(
        ctx: Any, dy: Tensor | None, token: Tensor | None
    ) -> tuple[Tensor | None, None, Tensor | None, Tensor, None, None]:
        if torch.is_grad_enabled():
            _refuse()
        x, matrix = ctx.saved_tensors
        if token is None:  # no later step is part of this backward pass, so it begins here
            ctx.visited.clear()
        dx = db = None
        if dy is not None:
            ctx.visited.append((x.detach(), dy))  # x with its history would keep the graph alive
            if ctx.needs_input_grad[0]:
                dx = ctx.kind.input_gradient(dy, matrix)
            if ctx.needs_input_grad[2]:
                db = as_rows(dy).sum(0)
        return dx, None, db, matrix.new_empty(0), None, None


_refuse = no_second_derivatives("a decoder without input feeding: --decoder-input-feeding False")


class _JointGradients(TorchFunctionMode):
    """Replaces the products while it is active. It belongs to one loop."""

    def __init__(self) -> None:
        super().__init__()
        # Each matrix, which keeps its id in use, with the token of its last step.
        self._matrices: dict[tuple[Any, ...], tuple[Tensor, _Visited, Tensor]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _KINDS and not kwargs and _can_join(*args):
            return self._step(_KINDS[func], *args)
        return func(*args, **(kwargs or {}))

    def _step(self, kind: _Kind, x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
        key = (kind is _BMM, *_place(matrix))
        if key not in self._matrices:
            visited: _Visited = []
            self._matrices[key] = matrix, visited, _Begin.apply(matrix, kind, visited)
        matrix, visited, token = self._matrices[key]
        y, token = _Step.apply(x, matrix, bias, token, kind, visited)
        self._matrices[key] = matrix, visited, token
        return y


def _can_join(x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> bool:
    return (
        torch.is_grad_enabled()
        and matrix.requires_grad
        and not torch.compiler.is_compiling()
        and not in_autocast(x.device)
        and not in_transformation()
    )


def _place(matrix: Tensor) -> tuple[Any, ...]:
    """Equal for two tensors with the same base, offset, shape and strides."""
    # a leaf has a gradient of its own, even if it was made as a view of another tensor
    base = matrix if matrix.is_leaf or matrix._base is None else matrix._base
    return id(base), matrix.storage_offset(), matrix.shape, matrix.stride()
