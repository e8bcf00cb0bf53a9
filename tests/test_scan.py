"""The scan and its reference against the equation in a float64 loop."""

from itertools import product

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from cpp_oracle import TOLERANCE, every_dtype, every_vector_set, instruction_set, needs_kernels
from layer_oracle import error_of, mask_of, scan_loop
from torch import Tensor

from fairseq_wsum.recurrence.problem import Scan, encode
from fairseq_wsum.recurrence.scan import by_pairs, by_steps, scan, scan_reference

SHAPES = [(1, 1, 1), (1, 3, 7), (5, 1, 33), (6, 4, 16), (13, 3, 20), (64, 2, 3), (37, 5, 70)]
SIDES = [None, "left", "right", "holes", "all"]


def problem(shape: tuple[int, int, int], side: str | None) -> tuple[list[Tensor], Tensor | None]:
    """f with zeros, ones and negative numbers, u, c_0; f and u are NaN at padding."""
    time, batch, units = shape
    f = torch.rand(shape) * 1.5 - 0.5
    f[torch.rand(shape) < 0.1] = 0
    f[torch.rand(shape) < 0.1] = 1
    u, mask = torch.randn(shape), mask_of(side, time, batch)
    if mask is not None:
        f[mask], u[mask] = float("nan"), float("nan")
    return [f, u, torch.randn(batch, units)], mask


def outcome(function, inputs, mask, reverse, dtype, memory) -> list[Tensor]:
    """Cells, the last one, and all gradients for random cotangents on both."""
    f, u, c_0 = inputs
    leaves = [t.to(d, copy=True) for t, d in ((f, dtype), (u, dtype), (c_0, memory))]
    if function is scan_loop and mask is not None:  # NaN times zero is NaN
        leaves[:2] = [t.masked_fill(mask.unsqueeze(-1), 0) for t in leaves[:2]]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    outputs = function(*leaves, mask, reverse)
    torch.manual_seed(1)
    cotangents = [torch.randn(t.shape).to(t.dtype) for t in outputs]
    return [*outputs, *torch.autograd.grad(outputs, leaves, cotangents)]


def compare(function, shape, side, reverse, dtype, memory=torch.float32) -> None:
    inputs, mask = problem(shape, side)
    inputs[:2] = [t.to(dtype).float() for t in inputs[:2]]
    exact = outcome(scan_loop, inputs, mask, reverse, torch.float64, torch.float64)
    found = outcome(function, inputs, mask, reverse, dtype, memory)
    for name, a, b in zip(("c", "c_n", "df", "du", "dc_0"), found, exact, strict=True):
        error = error_of(a, b)
        assert error < TOLERANCE.get(dtype, 1e-12), f"{name}: {error:.2g}"


@needs_kernels
@every_vector_set
@every_dtype
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("side", SIDES)
def test_the_kernels_equal_the_loop(side, reverse, dtype, name) -> None:
    with instruction_set(name):
        for threads, shape in (*product((1,), SHAPES), (2, SHAPES[-1])):  # the others use one
            torch.set_num_threads(threads)
            compare(scan, shape, side, reverse, dtype)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("side", SIDES)
def test_the_reference_equals_the_loop(side, reverse) -> None:
    for shape in SHAPES:
        compare(scan_reference, shape, side, reverse, torch.float64, torch.float64)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 16, 33])
def test_pairs_of_steps_equal_single_steps(steps) -> None:
    """The reference for GPUs, here on the CPU: values, and derivatives to the second order."""
    (f, u, c_0), _ = problem((steps, 2, 3), None)
    given = [t.double().requires_grad_() for t in (f, u, c_0)]
    torch.testing.assert_close(by_pairs(*given), by_steps(*given))
    if steps <= 4:
        assert torch.autograd.gradcheck(by_pairs, given)
        assert torch.autograd.gradgradcheck(by_pairs, given)


@needs_kernels
@pytest.mark.parametrize("shape", [(5, 2, 0), (5, 0, 2)], ids=["no-units", "no-sequences"])
def test_without_units_or_sequences_the_results_are_empty(shape) -> None:
    inputs, mask = problem(shape, "left")
    found = outcome(scan, inputs, mask, False, torch.float32, torch.float32)
    assert [part.shape for part in found] == [
        shape, shape[1:], shape, shape, shape[1:]
    ]  # fmt: skip


@needs_kernels
def test_transforms_and_forward_mode_take_the_reference() -> None:
    (f, u, c_0), _ = problem((5, 2, 3), None)
    tangent = torch.rand_like(f)
    results = [
        torch.func.jvp(lambda f, scan=kind: scan(f, u, c_0)[0], (f,), (tangent,))[1]
        for kind in (scan, scan_reference)
    ]
    torch.testing.assert_close(*results)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(f, tangent)
        found = forward_ad.unpack_dual(scan(dual, u, c_0)[0]).tangent
    torch.testing.assert_close(found, results[1])
    gradients = [
        torch.func.grad(lambda f, scan=kind: scan(f, u, c_0)[0].sum())(f)
        for kind in (scan, scan_reference)
    ]
    torch.testing.assert_close(*gradients)


@needs_kernels
@pytest.mark.parametrize("side", [None, "left"])
def test_the_operator_passes_opcheck(side) -> None:
    (f, u, c_0), mask = problem((5, 3, 4), side)
    f, u, c_0 = (t.nan_to_num().requires_grad_() for t in (f, u, c_0))
    rest = (mask, encode(Scan()), True)
    for save in (True, False):
        given = (f, None, c_0, *rest, save, u)
        torch.library.opcheck(torch.ops.fairseq_wsum.memory_cell, given)


F, C_0 = torch.rand(4, 2, 3), torch.rand(2, 3)
MISTAKES = {
    "float64": ((F.double(), F, C_0), "take float32 and bfloat16, got torch.float64"),
    "state": ((F, F, C_0.double()), "take c_0 of size"),
    "a-sequence": ((F, F, C_0[0]), r"takes c_0 of the size of one step, got \(3,\) for f of size"),
    "other-type": ((F, F.bfloat16(), C_0), "take u of size"),
    "other-length": ((F, F[1:], C_0), "takes f and u of one size"),
    "no-steps": ((F[:0], F[:0], C_0), "T x B x H with T > 0"),
    "too-many-dimensions": ((F[..., None], F[..., None], C_0[..., None]), "T x B x H with T > 0"),
}


@needs_kernels
@pytest.mark.parametrize(("given", "message"), MISTAKES.values(), ids=MISTAKES)
def test_bad_tensors_are_rejected(given, message) -> None:
    with pytest.raises(ValueError, match=message):
        scan(*given)


@needs_kernels
def test_second_derivatives_are_rejected() -> None:
    with pytest.raises(NotImplementedError, match="second derivatives need `scan_reference`"):
        f = F.clone().requires_grad_()
        loss = scan(f, F, C_0)[0].square().sum()
        torch.autograd.grad(loss, f, create_graph=True)
