"""The Triton kernels of `recurrence`, and the choice of the backend `triton`.

The kernels run in Triton's interpreter or, where there is one, on a GPU. Those of `memory_cell` are
tested in `test_triton_memory_cell`, and what the compiler makes of them in `test_triton_compiled`.
"""

import warnings

import pytest
import torch
from layer_oracle import error_of, inner, mask_of
from triton_helpers import (
    DEVICE,
    INTERPRETS,
    WAYS,
    inside,
    needs_triton,
    on_device,
    operator_of,
    outside,
    run_in_interpreter,
    tolerance,
)

from fairseq_wsum import CELLS
from fairseq_wsum.cells import get_cell
from fairseq_wsum.recurrence import Inputs, operators, problem, reference
from fairseq_wsum.recurrence.triton.tiling import Tiling, tiling_for


@needs_triton
@outside
def test_the_triton_kernels_pass_their_tests_in_the_interpreter() -> None:
    run_in_interpreter(__file__)


RECURRENT = [
    (name, coupled)
    for name, cell in CELLS.items()
    if problem.has_kernels(cell, "cuda") and cell.has_recurrent_matrix
    for coupled in ((False, True) if cell.has_memory else (False,))
]


# In the slow interpreter, every cell has padding at any step, and two cells have all other ways.
RECURRENCES = [
    (name, coupled, way)
    for name, coupled in RECURRENT
    for way in WAYS
    if DEVICE != "cpu" or way == "holes" or (name in ("lstm", "no-gates") and not coupled)
]


@inside
@pytest.mark.parametrize(("cell", "coupled", "way"), RECURRENCES)
def test_the_recurrence_equals_the_reference(cell, coupled, way) -> None:
    compare_recurrence(cell, coupled, 19, *WAYS[way], torch.float32, together=False)


@inside
@pytest.mark.parametrize("cell", [name for name, coupled in RECURRENT if not coupled])
def test_the_recurrence_runs_all_steps_in_one_launch(cell) -> None:
    compare_recurrence(cell, False, 13, False, "right", torch.float32, together=True)


@inside
@pytest.mark.parametrize("units", [16, 19])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("cell", ["lstm", "no-srnn"])
def test_the_recurrence_equals_the_reference_in_16_bits(cell, dtype, units) -> None:
    if INTERPRETS and dtype is torch.bfloat16:
        pytest.skip("the interpreter's products take the bits of bfloat16 for whole numbers")
    compare_recurrence(cell, False, units, True, "left", dtype, together=False)


@inside
@pytest.mark.parametrize(
    ("time", "batch", "units"), [(1, 1, 1), (1, 3, 7), (3, 1, 33), (2, 17, 7)], ids=str
)
@pytest.mark.parametrize("cell", ["lstm", "no-srnn", "no-gates"])
def test_the_recurrence_handles_small_and_odd_sizes(cell, time, batch, units) -> None:
    sizes = dict(time=time, batch=batch)
    compare_recurrence(cell, False, units, True, None, torch.float32, False, **sizes)


@inside
@pytest.mark.parametrize(("cell", "coupled"), RECURRENT)
def test_a_recurrence_with_saturated_gates_stays_accurate(cell, coupled) -> None:
    compare_recurrence(cell, coupled, 7, False, "left", torch.float32, False, size=50)


@inside
@pytest.mark.parametrize("side", [None, "left"], ids=lambda side: f"pad-{side}")
@pytest.mark.parametrize("coupled", [False, True], ids=["", "coupled"])
@pytest.mark.parametrize("cell", ["lstm", "no-srnn"])
def test_gates_near_1_keep_their_gradients_in_16_bits(cell, coupled, side) -> None:
    """sigmoid(8) is 0.9997, and the float16 next to it are 0.9995 and 1."""
    time, batch, units = 6, 2, 16
    cell = get_cell(cell, coupled_gates=coupled)
    rows = slice(0, units) if coupled else slice(units, 2 * units)  # of a gate
    z = torch.randn(time, batch, len(cell.rows) * units)
    z[..., rows] += 8
    z = z.half()
    w_hh = (0.3 * torch.randn(len(cell.hidden_rows) * units, units) / units**0.5).half()
    h_0, c_0 = torch.zeros(batch, units).half(), torch.randn(batch, units)
    dh_n, mask = torch.randn(batch, units).half(), mask_of(side, time, batch)

    exact = z.double().requires_grad_()
    rest = (*(tensor.double() for tensor in (h_0, c_0)), mask, False)
    _, h_n, _ = reference.recur(Inputs(cell, exact, inner(w_hh.double()), *rest), exact)
    (right,) = torch.autograd.grad(h_n, exact, dh_n.double())

    z, w_hh, h_0, c_0, dh_n, mask = on_device(z, w_hh, h_0, c_0, dh_n, mask)
    rest = (problem.encode(cell), False)
    forward, backward = operator_of("recurrence", Tiling(16, 16, 16, together=False))
    outputs = forward(z, w_hh, None, None, h_0, c_0, mask, *rest, True)
    saved, cells, _ = operators.kept_outputs(outputs, None, c_0, mask)
    dz, *_ = backward(None, dh_n, None, w_hh, None, h_0, c_0, mask, saved, cells, *rest)
    error = (dz.cpu().double() - right)[..., rows].norm() / right[..., rows].norm()
    assert error < 0.01, f"{error:.2g}"


def compare_recurrence(
    cell, coupled, units, reverse, side, dtype, together, time=3, batch=3, size=1
) -> None:
    """Outputs, final states and gradients against the reference in float64.

    size: of the pre-activations.
    """
    forward, backward = operator_of("recurrence", Tiling(16, 16, 16, together))
    cell = get_cell(cell, coupled_gates=coupled)
    z = size * torch.randn(time, batch, len(cell.rows) * units).to(dtype)
    w_hh = (torch.randn(len(cell.hidden_rows) * units, units) / units**0.5).to(dtype)
    c_0, dc_n = (torch.randn(batch, units) for _ in range(2))
    h_0, dh_n = (torch.randn(batch, units).to(dtype) for _ in range(2))
    dy, mask = torch.randn(time, batch, units).to(dtype), mask_of(side, time, batch)

    inputs = [tensor.double().requires_grad_() for tensor in (z, w_hh, h_0, c_0)]
    exact_z, exact_w_hh, *state = inputs
    given = Inputs(cell, exact_z, inner(exact_w_hh), *state, mask, reverse)
    right = reference.recur(given, exact_z)
    given = [tensor.double() for tensor in (dy, dh_n, dc_n)]
    wanted = [inputs[0], inputs[2], *([inputs[3]] if cell.has_memory else [])]
    gradients = torch.autograd.grad(right, wanted, given)

    z, w_hh, h_0, c_0 = on_device(z, w_hh, h_0, c_0)
    dy, dh_n, dc_n, mask = on_device(dy, dh_n, dc_n, mask)
    code, memory = problem.encode(cell), c_0 if cell.has_memory else None
    first, rest = (z, w_hh, None, h_0, memory, mask), (code, reverse)
    given = (z, w_hh, None, *first[2:])  # without inner biases
    outputs = forward(*given, *rest, True)
    y, h_n, c_n = outputs[:3]
    saved, cells, h = operators.kept_outputs(outputs, None, memory, mask)
    dc_n = dc_n if cell.has_memory else None
    dz, _, dh_0, dc_0 = backward(dy, dh_n, dc_n, *first[1:], saved, cells, *rest)
    found = {"y": y, "h_n": h_n, "dz": dz, "dh_0": dh_0}
    exact = {"y": right[0], "h_n": right[1], "dz": gradients[0], "dh_0": gradients[1]}
    if cell.has_memory:
        found |= {"c_n": c_n, "dc_0": dc_0}
        exact |= {"c_n": right[2], "dc_0": gradients[2]}
    for name, tensor in found.items():
        error = error_of(tensor, exact[name])
        assert error < tolerance(dtype, size), f"{name}: {error:.2g}"
    if mask is not None:  # what the gradient of W_*h is made from
        real = ~mask.unsqueeze(-1)
        torch.testing.assert_close(h * real, y)
    if INTERPRETS and reverse:
        return
    nothing = backward(None, None, None, *first[1:], saved, cells, *rest)
    assert all(gradient.eq(0).all() for gradient in nothing)
    unsaved = forward(*given, *rest, False)
    assert all(torch.equal(a, b) for a, b in zip(unsaved[:3], outputs[:3], strict=True))
    assert not any(tensor.numel() for tensor in unsaved[3:])


def test_a_tiling_uses_one_launch_if_all_programs_fit() -> None:
    for dtype, block in ((torch.bfloat16, 64), (torch.float32, 32)):
        small = Tiling(16, 16, block, together=True)
        assert tiling_for(20, 512, dtype, 132) == small._replace(inner=2 * block)
        assert tiling_for(20, 650, dtype, 132) == small
        assert tiling_for(20, 650, dtype, 81) == small._replace(sequences=32)
        large = Tiling(64, 32, block, together=True)
        assert tiling_for(128, 1500, dtype, 94) == large
        assert tiling_for(128, 1500, dtype, 93) == large._replace(together=False)
        assert tiling_for(3, 1500, dtype, 50) == small._replace(units=32)
    assert not tiling_for(1, 1, torch.float32, 0).together


@needs_triton
@pytest.mark.skipif(DEVICE == "cpu", reason="there is no GPU")
@pytest.mark.parametrize(("reverse", "side"), [(False, None), (True, "right")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("units", [200, 256], ids=["odd-tiles", "whole-tiles"])
@pytest.mark.parametrize("cell", ["lstm", "no-srnn", "no-srnn-out", "no-gates"])
def test_one_launch_for_all_steps_equals_one_per_step_bit_for_bit(
    cell, units, dtype, reverse, side
) -> None:
    cell, (time, batch) = CELLS[cell], (50, 40)
    z = torch.randn(time, batch, len(cell.rows) * units, device=DEVICE, dtype=dtype)
    w_hh = torch.randn(len(cell.hidden_rows) * units, units, device=DEVICE) / units**0.5
    h_0 = torch.randn(batch, units, device=DEVICE, dtype=dtype)
    c_0 = torch.randn(batch, units, device=DEVICE) if cell.has_memory else None
    (mask,) = on_device(mask_of(side, time, batch))
    first, rest = (z, w_hh.to(dtype), None, h_0, c_0, mask), (problem.encode(cell), reverse)
    results = []
    for together in (False, True, True, True):
        forward, backward = operator_of("recurrence", Tiling(16, 16, 64, together))
        outputs = forward(*first[:2], None, *first[2:], *rest, True)
        y, h_n, c_n = outputs[:3]
        saved, cells, _ = operators.kept_outputs(outputs, None, c_0, mask)
        gradients = backward(y, h_n, None, *first[1:], saved, cells, *rest)
        results.append((y, h_n, c_n, *gradients))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_triton
def test_the_backend_explains_what_a_gpu_or_its_machine_lacks(monkeypatch, tmp_path) -> None:
    from fairseq_wsum.recurrence import triton

    for name in ("_why_not_on_gpu", "_why_not_compiled"):
        monkeypatch.setattr(triton, name, getattr(triton, name).__wrapped__)  # without its cache
    case = (get_cell("lstm"), torch.device("cuda"), torch.float16, False)
    for available, capability, reason in (
        (False, (9, 0), "torch sees no GPU"),
        (True, (7, 5), "it needs compute capability 8.0 or higher, found 7.5"),
        (True, (9, 0), None),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=available: found)
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda device, found=capability: found
        )
        assert triton.why_not(*case) == reason
    monkeypatch.setattr(triton, "_headers", lambda: tmp_path)
    monkeypatch.setenv("CC", "a compiler")
    assert "header files of Python" in str(triton.why_not_auto(*case[1:3]))
    (tmp_path / "Python.h").touch()
    assert triton.why_not_auto(*case[1:3]) is None
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    reason = triton.why_not_auto(*case[1:3])
    assert reason == "triton needs a C compiler: install gcc, or set CC"
    assert triton.why_not(*case) is None  # by name it may run what it has compiled before


@needs_triton
def test_choosing_a_backend_breaks_no_graph(monkeypatch) -> None:
    from fairseq_wsum.recurrence import choose, triton

    monkeypatch.setattr(triton, "_why_not_on_gpu", lambda device: None)
    monkeypatch.setattr(triton, "_why_not_compiled", lambda: None)

    @torch.compile(backend="eager", fullgraph=True)
    def run(x: torch.Tensor, cell: str) -> torch.Tensor:
        name = choose("auto", CELLS[cell], torch.device("cuda"), torch.float16).name
        return x + (1 if name == "triton" else 2)

    with warnings.catch_warnings(action="error"):
        assert run(torch.zeros(1), "no-srnn") == 1
        assert run(torch.zeros(1), "sru") == 2
