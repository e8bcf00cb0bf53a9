"""The GPU backend: Triton kernels.

Triton is imported and the kernels are compiled when a layer first needs them.
"""

from __future__ import annotations

import os
import sysconfig
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from types import ModuleType

import torch
from torch.torch_version import TorchVersion

from ...cells import Cell
from ...transforms import constant, in_transformation
from .. import operators, problem

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def why_not(cell: Cell, device: torch.device, dtype: torch.dtype, projects: bool) -> str | None:
    """Why these kernels do not support this cell, device or dtype, or None if they do."""
    if not problem.has_kernels(cell, "cuda") and not cell.is_gated_sum:
        return f"it has kernels for gated sums and for the LSTM, not for {cell.label}"
    if device.type != "cuda":
        return f"it runs on GPUs, and the layer is on {device}"
    if cell.has_recurrent_matrix and projects:
        return "it does not support a projection for cells with recurrent matrices"
    if dtype not in DTYPES:
        return f"it computes in float32, bfloat16 and float16, not in {dtype}"
    if in_transformation():
        return problem.NOT_TRANSFORMED
    return _why_not_on(device) or why_missing()


@constant
def why_not_auto(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why `auto` does not rely on Triton: its kernels may not compile on this machine.

    A backend given by name tries, as Triton may have compiled them before.
    """
    return _why_not_compiled()


@constant
def _why_not_on(device: torch.device) -> str | None:
    return _why_not_on_gpu(device)


# These answers are cached because every call of a layer needs them. torch.compile looks through
# `cache` and would not see `constant` here, so functions marked `constant` call these.


@cache
def _why_not_on_gpu(device: torch.device) -> str | None:
    if torch.version.hip:
        return "it supports NVIDIA GPUs only"
    if not torch.cuda.is_available():
        return "torch sees no GPU"
    found = torch.cuda.get_device_capability(device)
    if found < (8, 0):
        return "it needs compute capability 8.0 or higher, found {}.{}".format(*found)
    return None


@cache
def _why_not_compiled() -> str | None:
    if not (os.environ.get("CC") or which("gcc") or which("clang")):
        return "triton needs a C compiler: install gcc, or set CC"
    if not Path(_headers(), "Python.h").exists():
        return "triton needs the header files of Python, such as Debian's package python3-dev"
    return None


@cache
def _is_supported(version: str) -> bool:
    return TorchVersion(version) >= "3.3"


def _headers() -> str:
    """Where Triton looks for the header files of Python."""
    scheme = sysconfig.get_default_scheme()
    return sysconfig.get_path("include", "posix_prefix" if scheme == "posix_local" else scheme)


@constant
def why_missing() -> str | None:
    """Why Triton cannot be used, or None if it can."""
    if not find_spec("triton"):
        return "triton is not installed: pip install triton"
    try:
        found = import_module("triton").__version__
    except Exception as error:  # a broken installation may raise anything
        return f"triton cannot be imported ({type(error).__name__}: {error}): install it again"
    return None if _is_supported(found) else f"triton 3.3 or later is needed, found {found}"


def _launch(given: problem.Problem) -> None:
    """Import the kernels, and with them Triton, and run them."""
    given.check(DTYPES)
    _imported(given.name).launch(given)


@cache
def _imported(module: str) -> ModuleType:
    if (reason := why_missing()) is not None:
        raise RuntimeError(f"the kernels for GPUs cannot be used: {reason}")
    return import_module(f"{__package__}.{module}")


operators.implement("CUDA", _launch)
