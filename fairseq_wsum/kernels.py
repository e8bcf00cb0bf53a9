"""The C++ kernel library (csrc/): finding it, loading it and calling its functions.

Its interface is plain C, so that one build works with every version of torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .csrc import fingerprint
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


def fields(sizes: str, flags: str, arrays: Iterable[str]) -> list[tuple[str, Any]]:
    """The fields of a struct of csrc/kernels.h: sizes, then flags, then pointers to arrays."""
    return [
        *((name, ctypes.c_int64) for name in sizes.split()),
        *((name, ctypes.c_int32) for name in flags.split()),
        *((name, ctypes.c_void_p) for name in arrays),
    ]


def call(
    name: str,
    kind: type[ctypes.Structure],
    like: Tensor,
    numbers: Mapping[str, float],
    tensors: Mapping[str, Tensor | None],
    backward: bool = False,
) -> int:
    """Call a function of the library and return its result.

    Args:
        name: the name of the function.
        kind: the class of its struct.
        like: a tensor in the dtype that the struct calls real.
        numbers: the sizes and flags.
        tensors: the tensors by name; None becomes a null pointer. Inputs are made contiguous;
            outputs must be so.
        backward: compute the gradients.

    Raises:
        MemoryError: the scratch space could not be allocated.
    """
    assert like.dtype in DTYPES, f"there is no kernel for {like.dtype}"
    # they must live until the function has returned
    dense = {key: tensor.contiguous() for key, tensor in tensors.items() if tensor is not None}
    struct = kind(
        is_bf16=like.dtype == torch.bfloat16,
        threads=torch.get_num_threads(),
        **numbers,
        **{key: tensor.data_ptr() for key, tensor in dense.items()},
    )
    result = int(getattr(_library(), name)(ctypes.byref(struct), backward))
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
