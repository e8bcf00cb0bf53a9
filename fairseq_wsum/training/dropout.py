"""Dropout by a C++ kernel (csrc/dropout.h).

torch draws the mask on the CPU number by number, and stores it. This kernel takes one random word
for each number from a counter-based generator, many at a time, and computes it again in the
backward pass.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import kernels
from ..kernels import LIBRARY, derive


def dropout(x: Tensor, p: float) -> Tensor:
    """Each element of `x` is zero with probability p, else x / (1 - p).

    A seed is drawn from torch's generator for the CPU, so the state of this generator determines
    the result. It is the same for every instruction set and number of threads, but not that of
    `torch.nn.functional.dropout`, which is used where the kernel is not available: on other
    devices, in other dtypes than float32 and bfloat16, and in `torch.func` or `torch.compile`.

    Args:
        x: a tensor of any shape.
        p: the probability, from 0 to 1.
    """
    if not 0 < p < 1 or torch.compiler.is_compiling() or not kernels.accepts(x):
        return F.dropout(x, p)
    seed = torch.empty((), dtype=torch.int64, device="cpu").random_()
    return torch.ops.fairseq_wsum.dropout(x, p, seed)


class _Dropout(ctypes.Structure):
    """The struct `Dropout` of csrc/kernels.h."""

    _fields_ = [
        ("keep", ctypes.c_double),
        *kernels.fields("size seed", "is_bf16 threads", ("x", "y")),
    ]


def _run(x: Tensor, p: float, seed: Tensor) -> Tensor:
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    numbers = dict(size=x.numel(), seed=int(seed), keep=1 - p)
    kernels.call("dropout", _Dropout, x, numbers, dict(x=x, y=y))
    return y


# The operator

LIBRARY.define("dropout(Tensor x, float p, Tensor seed) -> Tensor")
LIBRARY.impl("dropout", _run, "CPU")


def _save(ctx: Any, inputs: tuple[Tensor, float, Tensor], output: Tensor) -> None:
    _, ctx.p, seed = inputs
    ctx.save_for_backward(seed)


def _gradient(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
    return torch.ops.fairseq_wsum.dropout(dy, ctx.p, ctx.saved_tensors[0]), None, None


derive("dropout", lambda x, p, seed: x.new_empty(x.shape), _gradient, _save)
