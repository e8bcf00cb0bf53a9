"""The C++ kernels on infinities and NaN, against the reference in float64.

T time steps, B sequences, H hidden units, P features of h.
"""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from cpp_oracle import (
    TOLERANCE,
    every_dtype,
    every_instruction_set,
    every_vector_set,
    instruction_set,
    needs_kernels,
    skip_repeats,
)
from layer_oracle import every_cell, inner
from torch import Tensor

from fairseq_wsum import WsumLSTM
from fairseq_wsum.cells import get_cell
from fairseq_wsum.recurrence import Inputs, fused, reference
from fairseq_wsum.training import cross_entropy

# torch's products have an even number of terms here: with an odd one, its bfloat16 product on a CPU
# with AMX carries a NaN from one row into the previous one.
SHAPES = {
    "one-step": dict(T=1, B=6, H=8),
    "odd-units": dict(T=4, B=7, H=33),
    "many-sequences": dict(T=2, B=31, H=20),
    "odd-projection": dict(T=4, B=7, H=33, P=17),
}


def spoil(tensor: Tensor) -> None:
    """Put an infinity or NaN into every second sequence of a tensor, T x B x units or B x units."""
    steps = tensor if tensor.dim() == 3 else tensor.unsqueeze(0)
    for b in range(0, steps.size(1), 2):
        t, n = (torch.randint(size, ()) for size in (len(steps), steps.size(2)))
        steps[t, b, n] = (math.inf, -math.inf, math.nan)[b // 2 % 3]


def assert_same(found: Tensor, right: Tensor, dtype: torch.dtype, what: str) -> None:
    """NaN, infinities and finite numbers stand in the same places, and the numbers are near."""
    found, right = found.detach().double(), right.detach()
    assert torch.equal(found.isnan(), right.isnan()), what
    infinite = right.isinf()
    assert torch.equal(found.isinf(), infinite), what
    if dtype == torch.float32:  # in bfloat16 a factor near zero may be rounded to either sign
        assert torch.equal(found[infinite], right[infinite]), what
    found, right = found[right.isfinite()], right[right.isfinite()]
    if right.numel():
        scale = right.abs().amax().clamp_min(0.1)
        error = (found - right).abs().amax() / scale
        assert error < TOLERANCE[dtype], f"{what}: {error:.2g}"


def problem(
    cell: str, coupled: bool, shape: dict[str, int], dtype: torch.dtype
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs of a backend for one direction of a layer, and cotangents of what it returns."""
    T, B, H, P = shape["T"], shape["B"], shape["H"], shape.get("P", shape["H"])
    layer = WsumLSTM(
        1, H, cell=cell, coupled_gates=coupled, proj_size=shape.get("P", 0), dtype=dtype
    )
    inputs = dict(
        z=torch.randn(T, B, len(layer.cell.rows) * H) / 2,
        w_hh=getattr(layer, "weight_hh_l0", None),
        w_hr=getattr(layer, "weight_hr_l0", None),
        **{name: getattr(layer, name + "_l0") for name in layer.cell.vectors},
        h_0=torch.randn(B, P),
        c_0=torch.randn(B, H),
    )
    cotangents = dict(y=torch.randn(T, B, P), h_n=torch.randn(B, P), c_n=torch.randn(B, H))
    return tuple(
        {name: t.detach().to(dtype) for name, t in tensors.items() if t is not None}
        for tensors in (inputs, cotangents)
    )


def outcome(
    backend: Callable[..., tuple[Tensor, ...]],
    inputs: dict[str, Tensor],
    cotangents: dict[str, Tensor],
    dtype: torch.dtype,
    **options: object,
) -> dict[str, Tensor]:
    """What a backend returns, and every gradient."""
    leaves = {name: t.to(dtype, copy=True).requires_grad_() for name, t in inputs.items()}
    z, h_0, c_0 = (leaves[name] for name in ("z", "h_0", "c_0"))
    v = {name: leaf for name, leaf in leaves.items() if name.startswith("v_")}
    p = inner(leaves.get("w_hh"), leaves.get("w_hr"), v)
    outputs = backend(Inputs(x=z, p=p, h_0=h_0, c_0=c_0, **options), z)
    outputs = dict(zip(("y", "h_n", "c_n"), outputs, strict=True))
    gradients = torch.autograd.grad(
        list(outputs.values()),
        list(leaves.values()),
        [cotangents[name].to(dtype) for name in outputs],
        allow_unused=True,
    )
    named = {"d" + name: d for name, d in zip(leaves, gradients, strict=True) if d is not None}
    return {**outputs, **named}


@needs_kernels
@every_dtype
@every_instruction_set
@every_cell
def test_infinities_and_nan_equal_the_reference(cell, coupled, name, dtype) -> None:
    cell = get_cell(cell, coupled_gates=coupled)
    skip_repeats(name, cell, dtype)
    with instruction_set(name):
        for kind, shape in SHAPES.items():
            if "P" in shape and not (cell.has_recurrent_matrix and cell.can_project):
                continue  # torch's product projects gated sums
            for spoiled in ("z", "h_0", "c_0", "y", "h_n", "c_n"):
                if spoiled == "c_0" and cell.hidden_is_memory:
                    continue  # it is h_0
                inputs, cotangents = problem(cell, coupled, shape, dtype)
                spoil((inputs if spoiled in inputs else cotangents)[spoiled])
                if cell.hidden_is_memory:  # as in a layer
                    inputs["c_0"] = inputs["h_0"].clone()
                options = dict(cell=cell, reverse=shape["B"] % 2 == 1)
                found = outcome(fused.recur, inputs, cotangents, dtype, **options)
                right = outcome(reference.recur, inputs, cotangents, torch.float64, **options)
                assert found.keys() == right.keys()
                for what in found:
                    assert_same(found[what], right[what], dtype, f"{kind}, {spoiled}: {what}")


@needs_kernels
@every_vector_set
@pytest.mark.parametrize("content", [1.0, 1e30, math.inf])
def test_a_small_gate_of_a_min_lstm_counts_and_nan_beside_it_stays(content, name) -> None:
    gates = [(-39, -87), (-39, -85), (-45, -100), (3, -60), (-70, -2)]
    gates += [(math.nan, -100), (-100, math.nan)]
    z = torch.tensor([[*pair, content] for pair in gates]).view(1, -1, 3)
    h_0 = torch.ones(len(gates), 1)
    given = Inputs(get_cell("minlstm"), z, inner(None, None, {}), h_0, h_0)
    with instruction_set(name):
        found, *_ = fused.recur(given, z)
    right, *_ = reference.recur(given._replace(c_0=h_0.double()), z.double())
    for one, other in zip(found.unbind(1), right.unbind(1), strict=True):
        assert_same(one, other, torch.float32, "h")


@needs_kernels
@every_dtype
@every_vector_set
@pytest.mark.parametrize("words", [7, 16, 2500])
def test_the_cross_entropy_of_infinities_and_nan_equals_torchs(words, name, dtype) -> None:
    logits, targets = torch.randn(14, words).to(dtype), torch.randint(words, (14,))
    spoil(logits)
    logits[13, :1100], targets[13] = -math.inf, words - 1  # more than a block
    logits[1] = -math.inf  # all of them
    logits[3, targets[3]] = -math.inf
    logits[5, targets[5]] = math.inf
    weights = torch.ones(2, 14)
    weights[0, 7], weights[0, 9], weights[1, 11] = math.inf, math.nan, -math.inf
    results = []
    for real in (dtype, torch.float64):
        z = logits.to(real, copy=True).requires_grad_()
        if real == dtype:
            with instruction_set(name):
                losses = cross_entropy.cross_entropy(z, targets, -100)
                results.append((*losses, *torch.autograd.grad(losses, z, tuple(weights))))
        else:
            log_p = F.log_softmax(z, -1)
            losses = F.nll_loss(log_p, targets, reduction="none"), -log_p.sum(1)
            given = tuple(weights.double())
            results.append((*losses, *torch.autograd.grad(losses, z, given)))
    for what, found, right in zip(("nll", "smooth", "dz"), *results, strict=True):
        assert_same(found, right, dtype, what)
