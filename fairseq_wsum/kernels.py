"""The C++ library (csrc/), and the package's custom operators of torch, `torch.ops.fairseq_wsum`.

The library's interface is plain C, so that one build works with every version of torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .csrc import fingerprint
from .transforms import constant, in_transformation

DTYPES = (torch.float32, torch.bfloat16)

# In the order of csrc/kernels.h.
_OPERATIONS = ("memory_cell", "recurrence", "cross_entropy", "candidates", "attention", "dropout")


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
    """Run an operation of the library and return its result.

    Args:
        name: one of `_OPERATIONS`.
        kind: the class of its struct.
        like: a tensor in the dtype that the struct calls real.
        numbers: the sizes and flags.
        tensors: the tensors by name; None becomes a null pointer. Inputs are made contiguous;
            outputs must be so.
        backward: compute the gradients.

    Raises:
        MemoryError: the scratch space could not be allocated.
    """
    assert like.dtype in DTYPES
    # they must live until the function has returned
    dense = {key: tensor.contiguous() for key, tensor in tensors.items() if tensor is not None}
    struct = kind(
        is_bf16=like.dtype == torch.bfloat16,
        threads=torch.get_num_threads(),
        **numbers,
        **{key: tensor.data_ptr() for key, tensor in dense.items()},
    )
    operation = _OPERATIONS.index(name)
    result = int(_library().wsum_run(operation, ctypes.byref(struct), backward))
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
        "libomp), then reinstall this package (scripts/setup.sh in a clone), or use "
        "backend='reference', and `scan_reference` in place of `scan`"
    )


# The operators

LIBRARY = torch.library.Library("fairseq_wsum", "DEF")


def derive(
    name: str,
    fake: Callable[..., Any],
    gradient: Callable[..., Any],
    save: Callable[..., Any] | None = None,
) -> None:
    """Register the shape function and the gradient of an operator, whose tensors share a device.

    Args:
        name: the name of the operator.
        fake: returns empty tensors in the shapes of the outputs, for tracing.
        gradient: the backward pass.
        save: stores the inputs and outputs that the backward pass needs.
    """

    def on_one_device(*args: Any) -> Any:
        # if one is on `meta`, such as a weight that was never loaded, torch calls this for all
        devices = sorted({str(part.device) for part in args if isinstance(part, Tensor)})
        if len(devices) > 1:
            raise ValueError(
                f"{name}: the tensors are on {' and '.join(devices)}; move them to one"
            )
        return fake(*args)

    torch.library.register_fake(f"fairseq_wsum::{name}", on_one_device, lib=LIBRARY)
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
