"""Matrix products in float32 on the CPU, computed in the fastest way that torch has there.

torch uses MKL. On AMD processors with AVX-512 oneDNN, which torch also includes, is up to twice as
fast.

The choice depends on the processor only, so that two runs of a program give the same bits. The
environment variable FAIRSEQ_WSUM_PRODUCTS overrides it. `onednn`: oneDNN computes the products.
`mkl`: torch computes them.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels import LIBRARY, derive
from .transforms import constant, in_autocast, in_transformation

VARIABLE = "FAIRSEQ_WSUM_PRODUCTS"
CPUINFO = Path("/proc/cpuinfo")
ZEN_5 = 26  # AMD's processor family number
# With fewer rows, as in a step of decoding one sentence, calling an operator of our own takes more
# time than oneDNN saves.
FEW_ROWS = 8
PLAIN = (Tensor, nn.Parameter)


class ForFewRows:
    """A copy of a matrix that no longer changes, for products of as few rows as a decoding step.

    MKL reads a matrix once for every three rows. Its transpose is read once.

    Args:
        weight: N x K.
    """

    ROWS = range(4, 65)  # for which a product is faster with the copy

    def __init__(self, weight: Tensor) -> None:
        self._of = weight
        useful = (
            type(weight) in PLAIN
            and weight.dtype == torch.float32
            and weight.device.type == "cpu"
            and not weight.is_inference()  # it has no version
            and not uses_onednn("product")
        )
        self._columns = weight.detach().t().contiguous() if useful else None
        self._state = (weight._version, weight.data_ptr()) if useful else (0, 0)

    def serves(self, x: Tensor, weight: Tensor) -> bool:
        """Whether `product` is to use it."""
        return (
            self._columns is not None
            and weight is self._of
            and (weight._version, weight.data_ptr()) == self._state
            and x.dtype == weight.dtype == self._columns.dtype  # the model may have been converted
            and x.device == self._columns.device
            and x.numel() // x.size(-1) in self.ROWS
            and not (torch.is_grad_enabled() or torch.compiler.is_compiling())
            and not (in_autocast(x.device) or in_transformation())
        )

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """As `product`."""
        assert self._columns is not None
        y = as_rows(x) @ self._columns
        return (y if bias is None else y.add_(bias)).view(*x.shape[:-1], -1)


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, copy: ForFewRows | None = None
) -> Tensor:
    """y = x W^T + b, as `torch.nn.functional.linear`: ... x K, N x K and N -> ... x N."""
    if copy is not None and copy.serves(x, weight):
        return copy.product(x, bias)
    if not _has_few_rows(x) and _replaces_torch("product", x, weight) and _fits(x, weight, bias):
        return _linear(x, weight, bias)
    return F.linear(x, weight, bias)


def linear(module: nn.Module, x: Tensor, copy: ForFewRows | None = None) -> Tensor:
    """`module(x)`, computed by `product` if the module is a plain `torch.nn.Linear`.

    A subclass could do the same, but programs that quantise a model look for `nn.Linear` itself.
    They replace it by another module, which is called here like any other, as is one with hooks, or
    with a `forward` of its own.
    """
    hooks = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    changed = "forward" in vars(module) or any(getattr(module, name) for name in hooks)
    changed = changed or nn.modules.module._has_any_global_hook()
    if type(module) is nn.Linear and not changed:
        return product(x, module.weight, module.bias, copy)
    return module(x)


def weight_gradient(dy: Tensor, x: Tensor) -> Tensor:
    """The sum of dy_m x_m^T over all rows: ... x N, ... x K -> N x K."""
    dy, x = as_rows(dy), as_rows(x)
    if _replaces_torch("weight_gradient", dy, x):
        # oneDNN copies its left operand, so put x there: dy has all pre-activations and is larger
        return _linear(x.t(), dy.t()).t().contiguous()
    return dy.t() @ x


def as_rows(x: Tensor) -> Tensor:
    """... x N -> M x N."""
    return x.reshape(-1, x.size(-1)) if x.size(-1) else x.flatten(0, -2)


def _replaces_torch(kind: str, x: Tensor, other: Tensor) -> bool:
    """Whether the operator `linear` computes this product, instead of torch."""
    return (
        x.device.type == "cpu"
        and x.dtype == other.dtype == torch.float32
        and uses_onednn(kind)
        and x.numel() > 0
        # subclasses, such as quantised weights, have rules of their own for torch's operators
        and type(x) in PLAIN
        and type(other) in PLAIN
        and not in_autocast(x.device)
        and not in_transformation()
    )


def _has_few_rows(x: Tensor) -> bool:
    # a compiled program must not depend on the number of rows
    return not torch.compiler.is_compiling() and x.numel() < FEW_ROWS * x.size(-1)


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the shapes fit. torch broadcasts others or names them; oneDNN may not."""
    if weight.dim() != 2 or x.size(-1) != weight.size(1):
        return False
    return bias is None or (bias.dtype == x.dtype and bias.shape == weight.shape[:1])


# The choice


def has_fast_bfloat16() -> bool:
    """Whether torch's products in bfloat16 are fast on this processor."""
    return _has_onednn() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@constant
def uses_onednn(name: str) -> bool:
    """Whether oneDNN computes this kind of product, `product` or `weight_gradient`."""
    return _choose(name)


@cache
def _choose(name: str) -> bool:
    wanted, available = os.environ.get(VARIABLE), _has_onednn()
    if wanted not in (None, "mkl", "onednn"):
        raise ValueError(f"{VARIABLE}={wanted}: choose from mkl, onednn, or unset it")
    if wanted == "onednn" and not available:
        raise RuntimeError(f"{VARIABLE}=onednn: this build of torch has no oneDNN")
    if wanted is not None or not available:
        return wanted == "onednn"
    family = _amd_family_with_avx512()
    # For weight gradients oneDNN first copies one matrix, which pays off on Zen 5 and later.
    return family is not None and (name == "product" or family >= ZEN_5)


def _amd_family_with_avx512() -> int | None:
    """The processor family of an AMD processor with AVX-512; None for others, or if unknown."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return None
    pairs = (line.partition(":") for line in lines if ":" in line)
    first = {name.strip(): value.strip() for name, _, value in reversed(list(pairs))}
    if first.get("vendor_id") != "AuthenticAMD" or "avx512f" not in first["flags"].split():
        return None
    return int(first["cpu family"])


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _kernel(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()  # oneDNN is a thousand times slower on slices of a matrix
    if bias is not None:
        bias = bias.contiguous()  # oneDNN ignores its stride
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`_kernel` with gradients."""
    return torch.ops.fairseq_wsum.linear(x, weight, bias)


# The operator

LIBRARY.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
LIBRARY.impl("linear", _kernel, "CPU")


def _fake_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.size(0)))


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])


def _linear_gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    dx = dw = db = None
    if ctx.needs_input_grad[0]:
        dx = product(dy, weight.t())
    if ctx.needs_input_grad[1]:
        dw = weight_gradient(dy, x)
    if ctx.needs_input_grad[2]:
        db = as_rows(dy).sum(0)
    return dx, dw, db


derive("linear", _fake_linear, _linear_gradient, _save)
