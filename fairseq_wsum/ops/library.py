"""The operators of this package, as torch knows them: `torch.ops.fairseq_wsum`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

LIBRARY = torch.library.Library("fairseq_wsum", "DEF")


def implement(dispatch_key: str, kernels: dict[str, Callable[..., Any]]) -> None:
    """Register kernels, by the names of the operators, for a type of device."""
    for name, kernel in kernels.items():
        LIBRARY.impl(name, kernel, dispatch_key)


def derive(
    name: str,
    fake: Callable[..., Any],
    gradient: Callable[..., Any],
    save: Callable[..., Any] | None = None,
) -> None:
    """Register what an operator needs beside its kernels.

    Args:
        name: of the operator.
        fake: the shapes of what it returns, for tracing.
        gradient: its backward pass.
        save: what that needs of inputs and outputs.
    """
    torch.library.register_fake(f"fairseq_wsum::{name}", fake, lib=LIBRARY)
    torch.library.register_autograd(
        f"fairseq_wsum::{name}", gradient, setup_context=save, lib=LIBRARY
    )
