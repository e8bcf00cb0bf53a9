"""What torch may do with a program other than run it: compile, transform or autocast it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.autograd import forward_ad

Function = TypeVar("Function", bound=Callable[..., Any])


def constant(function: Function) -> Function:
    """Call it while tracing and take its result as a constant.

    This is `torch.compiler.assume_constant_result`, which imports the whole compiler to set one
    attribute: half as long again as importing torch takes.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def in_autocast(device: torch.device) -> bool:
    """Whether products on this device choose their own types."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


@constant
def in_transformation() -> bool:
    """Whether `torch.func` (grad, vmap, jvp, ...) or a forward-mode derivative is at work.

    They need rules that operators of our own do not have: a tangent would be lost without a word.
    """
    return (
        forward_ad._current_level >= 0 or torch._C._functorch.peek_interpreter_stack() is not None
    )
