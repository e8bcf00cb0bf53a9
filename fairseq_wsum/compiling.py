"""A word to `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def constant(function: Function) -> Function:
    """Call it while tracing and take its result as a constant.

    This is `torch.compiler.assume_constant_result`, which imports the whole compiler to set one
    attribute: half as long again as importing torch takes.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
