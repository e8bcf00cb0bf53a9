"""Matrix products on the CPU, computed in the fastest way that torch has on this processor.

In float32 torch uses MKL. On AMD processors with AVX-512 oneDNN, which torch also includes, is up
to twice as fast. In bfloat16 torch uses oneDNN, which needs AVX-512. On other processors its own
loops take 4 to 60 times as long as a product in float32, so the operands are converted to it.

The choice depends on the processor only, so that two runs of a program give the same bits. The
environment variable FAIRSEQ_WSUM_PRODUCTS overrides it. `onednn`: oneDNN computes the products in
float32; bfloat16 is not affected. `mkl`: torch computes all products.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .library import LIBRARY, derive, implement
from .transforms import constant, in_autocast, in_transformation

VARIABLE = "FAIRSEQ_WSUM_PRODUCTS"
CPUINFO = Path("/proc/cpuinfo")
ZEN_5 = 26  # AMD's processor family number
# With fewer rows, as in a step of decoding one sentence, calling an operator of our own takes more
# time than oneDNN saves: 5 x 128 by 128 x 512 took twice as long on a thread of Zen 5.
FEW_ROWS = 8
PLAIN = (Tensor, nn.Parameter)

_choices: dict[str, bool] = {}  # what was found out about this processor


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x W^T + b, as `torch.nn.functional.linear`: ... x K, N x K and N -> ... x N."""
    few = x.dtype == torch.float32 and _has_few_rows(x)
    if not few and _replaces_torch("product", x, weight) and _fits(x, weight, bias):
        return _linear(x, weight, bias)
    return F.linear(x, weight, bias)


def linear(module: nn.Module, x: Tensor) -> Tensor:
    """`module(x)`, computed by `product` if the module is a plain `torch.nn.Linear`.

    A subclass could do the same, but programs that quantise a model look for `nn.Linear` itself.
    They replace it by another module, which is called here like any other, as is one with hooks.
    """
    hooks = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    if type(module) is nn.Linear and not any(getattr(module, name) for name in hooks):
        return product(x, module.weight, module.bias)
    y: Tensor = module(x)
    return y


def outer(a: Tensor, b: Tensor) -> Tensor:
    """The sum of a_m b_m^T over all rows, as in weight gradients: ... x N, ... x K -> N x K."""
    a, b = as_rows(a), as_rows(b)
    if _replaces_torch("outer", a, b):
        return _outer(a, b).contiguous()
    return a.t() @ b


def outer_to(out: Tensor, a: Tensor, b: Tensor) -> None:
    """Write `outer(a, b)` to a tensor N x K."""
    a, b = as_rows(a), as_rows(b)
    if _replaces_torch("outer", a, b) or _in_vmap(a):
        out.copy_(outer(a, b))
    else:
        torch.mm(a.t(), b, out=out)


def add_outer_to(out: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a^T b, of two matrices with few rows, to a matrix."""
    if _is_slow(a) or _in_vmap(a):
        out.add_(outer(a, b))
    else:
        torch.addmm(out, a.t(), b, out=out)  # torch's counter of FLOPs does not know `addmm_`


def _in_vmap(x: Tensor) -> bool:
    """Whether gradients are computed in batches, which has no rule for `out=`."""
    return bool(torch._C._functorch.is_legacy_batchedtensor(x))


def batched(x: Tensor, y: Tensor) -> Tensor:
    """x_b y_b for each b, as `torch.bmm`: B x R x K and B x K x N -> B x R x N."""
    if _is_slow(x) and _may_replace_torch(x, y):
        z: Tensor = torch.ops.fairseq_wsum.bmm(x, y)
        return z
    return torch.bmm(x, y)


def wide_products(module: nn.Module) -> AbstractContextManager[object]:
    """A context in which the products of a module are converted, too, whose code is not ours.

    It has an effect in bfloat16 on processors where torch's own products are slow. Products within
    `torch.nn.functional.multi_head_attention_forward`, and those of calls with keyword arguments,
    stay torch's.
    """
    x = next(module.parameters(), None)  # None if the parameters are sharded
    return _WideProducts() if x is not None and _is_slow(x) else nullcontext()


class _WideProducts(TorchFunctionMode):
    ours: Mapping[Any, Callable[..., Any]] = {F.linear: product, torch.bmm: batched}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if kwargs:  # whose names differ
            return func(*args, **kwargs)
        return self.ours.get(func, func)(*args)


def as_rows(x: Tensor) -> Tensor:
    """... x N -> M x N."""
    return x.reshape(-1, x.size(-1)) if x.size(-1) else x.flatten(0, -2)


def _replaces_torch(kind: str, x: Tensor, weight: Tensor) -> bool:
    """Whether the operator `linear` computes this product, instead of torch."""
    faster = uses_onednn(kind) if x.dtype == torch.float32 else _is_slow(x)
    return faster and _may_replace_torch(x, weight)


def _may_replace_torch(x: Tensor, other: Tensor) -> bool:
    """Whether the operators of this file take the tensors."""
    return (
        x.device.type == "cpu"
        and x.dtype == other.dtype
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


@constant
def widens_bfloat16() -> bool:
    """Whether products in bfloat16 are computed in float32, as torch's own are slow here."""
    if "bfloat16" not in _choices:
        fast = _has_onednn() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        _choices["bfloat16"] = _wanted() != "mkl" and not fast
    return _choices["bfloat16"]


def _is_slow(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.bfloat16 and widens_bfloat16()


@constant
def uses_onednn(name: str) -> bool:
    """Whether oneDNN computes this kind of product in float32, `product` or `outer`."""
    if name not in _choices:
        _choices[name] = _choose(name)
    return _choices[name]


def _choose(name: str) -> bool:
    wanted = _wanted()
    available = _has_onednn()
    if wanted == "onednn" and not available:
        raise RuntimeError(f"{VARIABLE}=onednn: this build of torch has no oneDNN")
    if wanted is not None or not available:
        return wanted == "onednn"
    family = _amd_family_with_avx512()
    # For weight gradients oneDNN first copies one matrix, which pays off on Zen 5 and later.
    return family is not None and (name == "product" or family >= ZEN_5)


def _wanted() -> str | None:
    """The library that the user has chosen, if any."""
    wanted = os.environ.get(VARIABLE)
    if wanted not in (None, "mkl", "onednn"):
        raise ValueError(f"{VARIABLE}={wanted}: choose from mkl, onednn, or unset it")
    return wanted


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
    if x.dtype == torch.bfloat16:
        wide_bias = None if bias is None else bias.float()
        return F.linear(x.float(), weight.float(), wide_bias).to(x.dtype)
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()  # oneDNN is a thousand times slower on slices of a matrix
    if bias is not None:
        bias = bias.contiguous()  # oneDNN ignores its stride
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`_kernel` with gradients."""
    y: Tensor = torch.ops.fairseq_wsum.linear(x, weight, bias)
    return y


def _outer(a: Tensor, b: Tensor) -> Tensor:
    # oneDNN copies its left operand, so put `b` there: `a` has all pre-activations and is larger
    return _linear(b.t(), a.t()).t()


# The operators

LIBRARY.define("linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
implement("CPU", {"linear": _kernel})


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
        dw = outer(dy, x)
    if ctx.needs_input_grad[2]:
        db = as_rows(dy).sum(0)
    return dx, dw, db


derive("linear", _fake_linear, _linear_gradient, _save)

LIBRARY.define("bmm(Tensor x, Tensor y) -> Tensor")
implement("CPU", {"bmm": lambda x, y: torch.bmm(x.float(), y.float()).to(x.dtype)})


def _fake_bmm(x: Tensor, y: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:2], y.size(2)))


def _bmm_gradient(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
    x, y = ctx.saved_tensors
    dx = batched(dz, y.transpose(1, 2)) if ctx.needs_input_grad[0] else None
    dy = batched(x.transpose(1, 2), dz) if ctx.needs_input_grad[1] else None
    return dx, dy


derive("bmm", _fake_bmm, _bmm_gradient, _save)
