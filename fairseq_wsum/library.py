"""Registration of this package's custom operators, `torch.ops.fairseq_wsum`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

LIBRARY = torch.library.Library("fairseq_wsum", "DEF")


def implement(dispatch_key: str, kernels: dict[str, Callable[..., Any]]) -> None:
    """Register kernels, given by operator name, for a device type that has none."""
    for name, kernel in kernels.items():
        LIBRARY.impl(name, kernel, dispatch_key)


def derive(
    name: str,
    fake: Callable[..., Any],
    gradient: Callable[..., Any],
    save: Callable[..., Any] | None = None,
) -> None:
    """Register the shape function and the gradient of an operator.

    Args:
        name: the name of the operator.
        fake: returns empty tensors in the shapes of the outputs, for tracing.
        gradient: the backward pass.
        save: stores the inputs and outputs that the backward pass needs.
    """
    torch.library.register_fake(f"fairseq_wsum::{name}", fake, lib=LIBRARY)
    torch.library.register_autograd(
        f"fairseq_wsum::{name}", gradient, setup_context=save, lib=LIBRARY
    )


def no_second_derivatives(cure: str) -> Callable[..., Any]:
    """The gradient of a backward pass: an error that says what second derivatives need.

    A backward pass calls it too, under create_graph=True. Otherwise a later derivative would
    silently miss the terms that are constant in the incoming gradient.
    """

    def refuse(*_: Any) -> Any:
        raise NotImplementedError(f"second derivatives need {cure}")

    return refuse
