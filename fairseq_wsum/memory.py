"""Memory of large tensors on the CPU, kept when they are freed (csrc/torch/memory.cpp).

torch gives it back to the system, and the next update gets the same pages again, filled with zeros
one by one: for tensors as wide as the vocabulary that takes longer than computing them.
FAIRSEQ_WSUM_KEEP_MEMORY=0 in the environment leaves it as it is.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

import torch

from . import native

VARIABLE = "FAIRSEQ_WSUM_KEEP_MEMORY"


@dataclass(frozen=True)
class Count:
    """Bytes: of large tensors, kept for others, and the most that tensors have had at once."""

    used: int
    kept: int
    peak: int


def keep() -> None:
    """From now on the process keeps the memory of large tensors, whoever computes with them.

    It holds at most half as much again as was in use at once; with what blocks are larger than
    tensors that is at worst a little more than twice what tensors have needed. Nothing is kept
    when the process forks. Without effect where `why_not` has a reason.
    """
    if why_not() is None:
        _LIBRARY.get().wsum_memory_keep()


def why_not() -> str | None:
    """Why no memory is kept here, or None if it is, once there is a model of fairseq.

    Raises:
        ValueError: the variable has another value than 0 or 1.
    """
    wanted = os.environ.get(VARIABLE, "1")
    if wanted not in ("0", "1"):
        raise ValueError(f"{VARIABLE}={wanted}: choose from 0, 1, or leave it out")
    if wanted == "0":
        return f"{VARIABLE}=0"
    if torch.cuda.is_available():
        return "there is a GPU"
    return why_missing()


def why_missing() -> str | None:
    """Why there is no library for it, or None where there is."""
    return _LIBRARY.why_missing()


def count() -> Count:
    """What there is of it at the moment."""
    values = [ctypes.c_int64() for _ in range(3)]
    _LIBRARY.get().wsum_memory_count(*map(ctypes.byref, values))
    return Count(*(value.value for value in values))


def _check(library: ctypes.CDLL) -> str | None:
    library.wsum_memory_torch.restype = ctypes.c_char_p
    built_for = library.wsum_memory_torch().decode()
    if built_for == torch.__version__:
        return None
    return f"for torch {built_for}, and this is {torch.__version__}"


_LIBRARY = native.Library(
    "_memory",
    _check,
    "its library was not built; install a C++ compiler, then this package again, with "
    "--no-build-isolation (scripts/setup.sh in a clone)",
)
