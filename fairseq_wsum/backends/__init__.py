"""Backends: interchangeable ways to run one direction of one layer, and the choice between them.

Every backend is a `Backend`: the same function signature, argument names and layout. `choose`
takes the one asked for by name, or for `auto` the first that can do the work.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..cells import Cell, Rows
from ..ops import kernels
from ..ops.transforms import constant
from . import cpp, reference, triton


class Run(Protocol):
    """Runs one direction of one layer, from the products with x_t; see `reference.run`."""

    def __call__(
        self,
        cell: Cell,
        z: Tensor,
        w_hh: Tensor | None,
        b_hh: Tensor | None,
        w_hr: Tensor | None,
        v: Rows,
        h_0: Tensor,
        c_0: Tensor,
        padding_mask: Tensor | None,
        reverse: bool,
    ) -> tuple[Tensor, Tensor, Tensor]: ...


@dataclass(frozen=True)
class Backend:
    """A way to run a layer.

    Args:
        name: what the option `backend` takes.
        run: the function that does the work.
        why_not: why this backend cannot run this cell on this device in this type, with or without
            a projection; None if it can.
        only_by_name: why `auto` does not take it all the same; None if it may.
    """

    name: str
    run: Run
    why_not: Callable[[Cell, torch.device, torch.dtype, bool], str | None]
    only_by_name: str | None = None


# In the order in which `auto` tries them: the fastest first, then the one that can do anything.
BACKENDS: dict[str, Backend] = {
    "cpp": Backend("cpp", cpp.run, cpp.why_not),
    "triton": Backend("triton", triton.run, triton.why_not, "it has not been run on a GPU yet"),
    "reference": Backend("reference", reference.run, reference.why_not),
}

BACKEND_CHOICES = ("auto", *BACKENDS)


def check_name(name: str) -> None:
    """Raise ValueError unless `name` is `auto` or the name of a backend."""
    if name not in BACKEND_CHOICES:
        raise ValueError(f"unknown backend {name!r}: choose one of {', '.join(BACKEND_CHOICES)}")


def choose(
    name: str, cell: Cell, device: torch.device, dtype: torch.dtype, projects: bool = False
) -> Backend:
    """The backend to run this cell with, on this device, in this type.

    A backend asked for by name is never replaced by another.

    Raises:
        ValueError: no such backend.
        RuntimeError: the backend asked for cannot do it; the message says why.
    """
    check_name(name)
    if name != "auto":
        reason = BACKENDS[name].why_not(cell, device, dtype, projects)
        if reason is not None:
            raise RuntimeError(f"backend {name!r} cannot run this layer: {reason}")
        return BACKENDS[name]
    case = (cell, device, dtype, projects)
    automatic = (b for b in BACKENDS.values() if b.only_by_name is None)
    backend = next(b for b in automatic if b.why_not(*case) is None)
    if backend.name == "reference" and device.type == "cpu" and dtype in kernels.DTYPES:
        _warn_if_missing()
    return backend


@constant
def _warn_if_missing() -> None:
    """Say that layers on the CPU are slower than they could be, and why. (Python says it once.)"""
    reason = kernels.why_missing()
    if reason is not None:
        warnings.warn(f"layers run on the slower reference backend: {reason}", stacklevel=2)
