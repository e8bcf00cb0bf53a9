"""The C++ kernel library (csrc/): finding it, loading it and calling its functions.

Its interface is plain C, so that one build works with every version of torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from .arguments import expect
from .sources import fingerprint
from .transforms import constant, in_transformation

DTYPES = (torch.float32, torch.bfloat16)


@constant
def why_missing() -> str | None:
    """Why the kernels are not available, or None if they are."""
    return _find()[1]


def accepts(x: Tensor) -> bool:
    """Whether the kernels accept x: on the CPU, in float32 or bfloat16, in no transformation."""
    return (
        x.device.type == "cpu"
        and x.dtype in DTYPES
        and not in_transformation()
        and why_missing() is None
    )


def instruction_set() -> str:
    """The instruction set in use: `amx`, `avx512_bf16`, `avx512`, `avx2` or `baseline`."""
    return str(_library().wsum_instruction_set().decode())


def use_instruction_set(name: str) -> None:
    """Use the kernels for another instruction set, for tests.

    Raises:
        ValueError: this processor or this build does not support it.
    """
    if _library().wsum_use_instruction_set(name.encode()) != 0:
        raise ValueError(f"this processor or this build has no instruction set {name!r}")


def check_dtype(name: str, tensor: Tensor) -> None:
    """Check that the kernels have a form for the dtype of a tensor.

    Raises:
        ValueError: they have none.
    """
    if tensor.dtype not in DTYPES:
        wanted = " or ".join(str(dtype) for dtype in DTYPES)
        raise ValueError(f"the kernels take {name} in {wanted}, got {tensor.dtype}")


def pointer(name: str, tensor: Tensor, dtype: torch.dtype, shape: Sequence[int]) -> int:
    """The address of a tensor's data, for a struct.

    Raises:
        ValueError: the tensor has the wrong dtype or shape, so that the kernels would access memory
            out of bounds.
    """
    expect(name, tensor, dtype, shape)
    return tensor.data_ptr()


def call(name: str, arguments: ctypes.Structure) -> int:
    """Call a function of the library with its struct and return its result.

    Raises:
        MemoryError: the scratch space could not be allocated.
    """
    result = int(getattr(_library(), name)(ctypes.byref(arguments)))
    if result == 2:
        raise MemoryError(f"{name}: not enough memory for its scratch space")
    return result


def _library() -> ctypes.CDLL:
    library, reason = _find()
    if library is None:
        raise RuntimeError(reason)
    return library


@cache
def _find() -> tuple[ctypes.CDLL | None, str | None]:
    """The library, or the reason why it is not available."""
    reasons = []
    for path in sorted(Path(__file__).parent.glob("_kernels*.so")):
        try:
            library = ctypes.CDLL(str(path))
            library.wsum_sources.restype = ctypes.c_char_p
            sources = library.wsum_sources().decode()
        except (OSError, AttributeError) as error:
            reasons.append(f"{path.name} cannot be loaded: {error}")
            continue
        if sources == fingerprint():
            library.wsum_instruction_set.restype = ctypes.c_char_p
            return library, None
        reasons.append(
            f"{path.name} was built from other sources; reinstall the package (in a clone: "
            "scripts/setup.sh, or pip install --no-build-isolation --no-deps -e .)"
        )
    return None, "; ".join(reasons) or (
        "the C++ kernels were not built; install a C++ compiler (GCC 9 or later, or clang with "
        "libomp), then reinstall this package (scripts/setup.sh in a clone), or use the backend "
        "`reference` and `scan_reference`"
    )
