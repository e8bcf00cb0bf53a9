"""Backends: interchangeable implementations of one direction of one layer.

All backends share one function signature. `choose` returns the backend with a given name. For
`auto` it returns the first backend that supports the cell, the device and the dtype.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .. import kernels
from ..cells import Cell
from ..transforms import constant
from . import cpp, fused, reference, torch_kernels, triton
from .parameters import Inputs as Inputs
from .parameters import Parameters as Parameters
from .parameters import Results as Results


@dataclass(frozen=True)
class Backend:
    """An implementation of one direction of a layer.

    Args:
        name: the value of the option `backend`.
        run: the function that runs the layer, as `reference.run`.
        why_not: returns why this backend does not support a cell on a device in a dtype, with or
            without a projection, or None if it does; by default it supports everything.
        why_not_auto: returns why `auto` does not select this backend on a device in a dtype that it
            supports, or None if it may.
    """

    name: str
    run: Callable[[Inputs], Results]
    why_not: Callable[[Cell, torch.device, torch.dtype, bool], str | None] = lambda *layer: None
    why_not_auto: Callable[[torch.device, torch.dtype], str | None] = lambda *given: None


# `auto` tries them in this order: the fast ones first, then the one that supports everything. One
# of your own, added after these, runs where it is asked for by name.
BACKENDS: dict[str, Backend] = {
    "cpp": Backend("cpp", fused.run, cpp.why_not),
    "torch": Backend("torch", torch_kernels.run, torch_kernels.why_not, torch_kernels.why_not_auto),
    "triton": Backend("triton", fused.run, triton.why_not, triton.why_not_auto),
    "reference": Backend("reference", reference.run),
}


def choices() -> tuple[str, ...]:
    """What the option `backend` may be: `auto`, and the name of every backend."""
    return ("auto", *BACKENDS)


def check_name(name: str) -> None:
    """Raise ValueError unless `name` is `auto` or the name of a backend."""
    if name not in choices():
        raise ValueError(f"unknown backend {name!r}: choose one of {', '.join(choices())}")


def choose(
    name: str, cell: Cell, device: torch.device, dtype: torch.dtype, projects: bool = False
) -> Backend:
    """Choose the backend for this cell on this device in this dtype.

    A backend given by name is never replaced by another.

    Raises:
        ValueError: there is no backend of this name.
        RuntimeError: the backend given by name does not support this layer; the message says why.
    """
    check_name(name)
    if name != "auto":
        reason = BACKENDS[name].why_not(cell, device, dtype, projects)
        if reason is not None:
            raise RuntimeError(f"backend {name!r} cannot run this layer: {reason}")
        return BACKENDS[name]
    case = (cell, device, dtype, projects)
    backend = next(
        b
        for b in BACKENDS.values()
        if b.why_not(*case) is None and b.why_not_auto(device, dtype) is None
    )
    fast = ("torch", "triton") if device.type == "cuda" else ("cpp",)
    if backend.name not in fast and (reason := _why_missing(BACKENDS[fast[-1]], *case)):
        _warn(backend.name, reason)
    return backend


def _why_missing(
    backend: Backend, cell: Cell, device: torch.device, dtype: torch.dtype, projects: bool
) -> str | None:
    """What keeps `auto` from this backend, if the user can install it."""
    reason = backend.why_not(cell, device, dtype, projects)
    if reason is None:
        return backend.why_not_auto(device, dtype)
    missing = triton.why_missing() if device.type == "cuda" else kernels.why_missing()
    return reason if reason == missing else None


@constant
def _warn(name: str, reason: str) -> None:
    """Warn that kernels are missing, and why. Python shows the warning once."""
    warnings.warn(f"layers run on the slower {name} backend: {reason}", stacklevel=2)
