"""Matrix products in float32 on the CPU, computed by the faster of torch's two libraries.

torch uses MKL for these products. On AMD processors with AVX-512 oneDNN, which torch also includes,
is up to twice as fast. The choice depends on the processor only, so that two runs of a program give
the same bits. The environment variable FAIRSEQ_WSUM_PRODUCTS overrides it with `mkl` or `onednn`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .library import LIBRARY, derive, implement
from .transforms import constant, in_autocast, in_transformation

VARIABLE = "FAIRSEQ_WSUM_PRODUCTS"
CPUINFO = Path("/proc/cpuinfo")
ZEN_5 = 26  # AMD's processor family number

_choices: dict[str, bool] = {}  # kind of product -> whether oneDNN computes it


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x W^T + b, as `torch.nn.functional.linear`: ... x K, N x K and N -> ... x N."""
    if uses_onednn("product") and _suits(x, weight) and _fits(x, weight, bias):
        return _by_onednn(x, weight, bias)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """`torch.nn.Linear`, computed by `product`."""

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.weight, self.bias)


def outer(a: Tensor, b: Tensor) -> Tensor:
    """The sum of a_m b_m^T over all rows, as in weight gradients: ... x N, ... x K -> N x K."""
    a, b = as_rows(a), as_rows(b)
    if uses_onednn("outer") and _suits(a, b):
        return _onednn_outer(a, b).contiguous()
    return a.t() @ b


def outer_to(out: Tensor, a: Tensor, b: Tensor) -> None:
    """Write `outer(a, b)` to a tensor N x K."""
    a, b = as_rows(a), as_rows(b)
    if uses_onednn("outer") and _suits(a, b):
        out.copy_(_onednn_outer(a, b))
    else:
        out.addmm_(a.t(), b, beta=0)


def as_rows(x: Tensor) -> Tensor:
    """... x N -> M x N."""
    return x.reshape(-1, x.size(-1)) if x.size(-1) else x.flatten(0, -2)


def _suits(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN may compute this product."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() > 0
        and not in_autocast(x.device)
        and not in_transformation()
    )


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the shapes fit. torch broadcasts others or names them; oneDNN reads beyond them."""
    if weight.dim() != 2 or x.size(-1) != weight.size(1):
        return False
    return bias is None or (bias.dtype == torch.float32 and bias.shape == weight.shape[:1])


# The choice


@constant
def uses_onednn(name: str) -> bool:
    """Whether oneDNN computes this kind of product, `product` or `outer`."""
    if name not in _choices:
        _choices[name] = _choose(name)
    return _choices[name]


def _choose(name: str) -> bool:
    wanted = os.environ.get(VARIABLE)
    if wanted not in (None, "mkl", "onednn"):
        raise ValueError(f"{VARIABLE}={wanted}: choose from mkl, onednn, or unset it")
    available = _has_onednn()
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


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()  # oneDNN is a thousand times slower on slices of a matrix
    if bias is not None:
        bias = bias.contiguous()  # oneDNN ignores its stride
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`_onednn` with gradients."""
    y: Tensor = torch.ops.fairseq_wsum.linear(x, weight, bias)
    return y


def _onednn_outer(a: Tensor, b: Tensor) -> Tensor:
    # oneDNN copies its left operand, so put `b` there: `a` has all pre-activations and is larger
    return _by_onednn(b.t(), a.t()).t()


# The operator

LIBRARY.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
implement("CPU", {"linear": _onednn})


def _fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.size(0)))


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])


def _gradient(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    dx = dw = db = None
    if ctx.needs_input_grad[0]:
        dx = product(dy, weight.t())
    if ctx.needs_input_grad[1]:
        dw = outer(dy, x)
    if ctx.needs_input_grad[2]:
        db = as_rows(dy).sum(0)
    return dx, dw, db


derive("linear", _fake, _gradient, _save)
