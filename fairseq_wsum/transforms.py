"""Detection of torch's program transformations: compilation, `torch.func` and autocast."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

Function = TypeVar("Function", bound=Callable[..., Any])


def constant(function: Function) -> Function:
    """Decorator: `torch.compile` calls the function while tracing and keeps the result constant.

    `torch.compiler.assume_constant_result` does the same. But it imports the whole compiler to set
    this one attribute, which takes half as long as importing torch.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def in_autocast(device: torch.device) -> bool:
    """Whether autocast chooses the dtypes of matrix products on this device."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which autocast leaves the dtypes on this device alone."""
    return torch.autocast(device.type, enabled=False) if in_autocast(device) else nullcontext()


def product_dtype(x: Tensor, weight: Tensor) -> torch.dtype:
    """The dtype of the product of two tensors: that of autocast, which leaves float64 alone."""
    if in_autocast(x.device) and torch.float64 not in (x.dtype, weight.dtype):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


@constant
def in_transformation() -> bool:
    """Whether a `torch.func` transform (grad, vmap, jvp, ...) or forward-mode AD is active.

    Custom operators have no rules for these, and would silently drop a tangent.
    """
    return (
        forward_ad._current_level >= 0 or torch._C._functorch.peek_interpreter_stack() is not None
    )
