"""One gradient for a matrix that every step of a loop multiplies by.

In a loop over time, autograd computes the gradient of a matrix once for each step, and adds them
up: T products with few rows each, and T - 1 sums of matrices. Inside `joint_gradients` it is one
product over the rows of all steps. That is faster, and in 16 bits it is rounded once.

Shapes: T steps, K inputs, N outputs. x and y are those of one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from .products import as_rows, outer, product
from .transforms import in_autocast, in_transformation


def joint_gradients() -> AbstractContextManager[object]:
    """A context for a loop, in which each matrix gets one gradient for all steps.

    It applies to `torch.nn.functional.linear` and `torch.bmm` with the same second operand in
    several steps. No result changes, except for the rounding of these gradients. Second derivatives
    are an error.
    """
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _JointGradients()
    return nullcontext()


class _Matrix:
    """A matrix W of the loop, and the operands of its gradient.

    Attributes:
        matrix: W.
        inputs: x of each step.
        visited: the steps that the backward pass has visited, with dy.
    """

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix
        self.inputs: list[Tensor] = []
        self.visited: list[tuple[int, Tensor]] = []

    def collected(self) -> Iterator[tuple[Tensor, Tensor]]:
        """x and dy of each step that the backward pass has visited."""
        visited, self.visited = self.visited, []
        return ((self.inputs[step], dy) for step, dy in visited)

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """y."""
        raise NotImplementedError

    def input_gradient(self, dy: Tensor) -> Tensor:
        """dx."""
        raise NotImplementedError

    def gradient(self) -> Tensor:
        """dW, from `collected`."""
        raise NotImplementedError


class _Linear(_Matrix):
    """y = x W^T + b: ... x K and N x K -> ... x N."""

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return product(x, self.matrix, bias)

    def input_gradient(self, dy: Tensor) -> Tensor:
        return product(dy, self.matrix.t())

    def gradient(self) -> Tensor:
        xs, dys = zip(*((as_rows(x), as_rows(dy)) for x, dy in self.collected()), strict=True)
        return outer(torch.cat(dys), torch.cat(xs))


class _Batched(_Matrix):
    """y_b = x_b W_b for each b: B x R x K and B x K x N -> B x R x N."""

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        assert bias is None
        return torch.bmm(x, self.matrix)

    def input_gradient(self, dy: Tensor) -> Tensor:
        return torch.bmm(dy, self.matrix.transpose(1, 2))

    def gradient(self) -> Tensor:
        xs, dys = zip(*self.collected(), strict=True)
        return torch.bmm(torch.cat(xs, dim=1).transpose(1, 2), torch.cat(dys, dim=1))


# The steps of a matrix are linked by tokens: each takes the token of the step before, an empty
# tensor, and makes the next one. So a backward pass visits them from the last to the first, and
# then the matrix.


class _Begin(torch.autograd.Function):
    """The token for the first step. Its backward pass comes after those of all steps."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, owner: _Matrix) -> Tensor:
        ctx.owner = owner
        return matrix.new_empty(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, token: Tensor) -> tuple[Tensor | None, None]:
        return (ctx.owner.gradient() if ctx.owner.visited else None), None


class _Step(torch.autograd.Function):
    """The product of one step, and the token for the next one."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, matrix: Tensor, bias: Tensor | None, token: Tensor, owner: _Matrix
    ) -> tuple[Tensor, Tensor]:
        ctx.owner, ctx.step = owner, len(owner.inputs)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(matrix)
        owner.inputs.append(x.detach())
        return owner.product(x, bias), token.new_empty(0)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, dy: Tensor | None, token: Tensor | None
    ) -> tuple[Tensor | None, None, Tensor | None, Tensor, None]:
        (matrix,) = ctx.saved_tensors  # raises an error if the matrix has changed
        owner = ctx.owner
        if token is None:  # this backward pass has no later step, so it begins here
            owner.visited.clear()
        dx = db = None
        if dy is not None:
            owner.visited.append((ctx.step, dy))
            if ctx.needs_input_grad[0]:
                dx = owner.input_gradient(dy)
            if ctx.needs_input_grad[2]:
                db = as_rows(dy).sum(0)
        return dx, None, db, matrix.new_empty(0), None


class _JointGradients(TorchFunctionMode):
    """Replaces the products while it is active. It belongs to one loop."""

    def __init__(self) -> None:
        super().__init__()
        # with the token of the last step; a token in the matrix itself would keep the graph alive
        self._matrices: dict[tuple[Any, ...], tuple[_Matrix, Tensor]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _KINDS and not kwargs and _suits(args[0], args[1]):
            return self._step(_KINDS[func], *args)
        return func(*args, **(kwargs or {}))

    def _step(
        self, kind: type[_Matrix], x: Tensor, matrix: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        key = (kind, *_view(matrix))
        if key not in self._matrices:
            owner = kind(matrix)
            self._matrices[key] = owner, _Begin.apply(matrix, owner)
        owner, token = self._matrices[key]
        y, token = _Step.apply(x, owner.matrix, bias, token, owner)
        self._matrices[key] = owner, token
        return y


_KINDS: dict[Callable[..., Any], type[_Matrix]] = {
    F.linear: _Linear,
    torch.ops.fairseq_wsum.linear: _Linear,
    torch.bmm: _Batched,
}


def _suits(x: Tensor, matrix: Tensor) -> bool:
    return (
        torch.is_grad_enabled()
        and matrix.requires_grad
        and not in_autocast(x.device)
        and not in_transformation()
    )


def _view(matrix: Tensor) -> tuple[Any, ...]:
    """Equal for two tensors that are the same view of the same tensor."""
    base = matrix if matrix._base is None else matrix._base
    return id(base), matrix.storage_offset(), matrix.shape, matrix.stride()
