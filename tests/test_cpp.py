"""The C++ backend against the reference in float64."""

import copy
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pytest
import torch
from cpp_oracle import (
    OWN_RECURRENCES,
    SHAPES,
    assert_near,
    compare,
    every_dtype,
    every_instruction_set,
    every_vector_set,
    instruction_set,
    needs_kernels,
    skip_repeats,
    twins,
)
from layer_oracle import ALL_CELLS, every_name, mask_of
from torch import Tensor

from fairseq_wsum import CELLS, WsumLSTM, kernels
from fairseq_wsum.csrc import CSRC, fingerprint, sources
from fairseq_wsum.recurrence import problem


@pytest.mark.parametrize("library", ["missing", "no library", "of other sources"])
def test_a_library_that_cannot_be_used_is_named(library, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "kernels.py"))
    path = tmp_path / "_kernels.abi3.so"
    reason = "the C\\+\\+ kernels were not built"
    if library == "no library":
        path.write_bytes(b"text")
        reason = "_kernels.abi3.so cannot be loaded: "
    elif library == "of other sources":
        built = list(CSRC.parent.glob("_kernels*.so"))
        if not built:
            pytest.skip("the C++ kernels were not built")
        path.symlink_to(built[0])
        monkeypatch.setattr(kernels, "fingerprint", lambda: "that of a changed header")
        reason = "was built from other sources; reinstall"
    found, why = kernels._find.__wrapped__()
    assert found is None and re.search(reason, why)


CASES = [
    (cell, coupled, kind, side, dtype)
    for cell, coupled in ALL_CELLS
    for kind, shape in SHAPES.items()
    for side in (["left", None] if kind in ("one-step", "odd") else ["left"])
    for dtype in kernels.DTYPES
    if CELLS[cell].can_project or "P" not in shape
    if dtype == torch.float32 or kind in ("one-of-each", "odd", "projection")
]


@needs_kernels
# Padding on the left is before the steps of one direction and after those of the other.
@pytest.mark.parametrize(("cell", "coupled", "shape", "side", "dtype"), CASES)
def test_results_equal_the_reference(cell, coupled, shape, side, dtype) -> None:
    shape, options = SHAPES[shape], dict(cell=cell, coupled_gates=coupled, bidirectional=True)
    fast, exact = twins(shape, dtype, **options)
    compare(fast, exact, shape, mask_of(side, shape["T"], shape["B"]))


@needs_kernels
@every_dtype
@pytest.mark.parametrize("cell", [name for name, cell in CELLS.items() if cell.is_gated_sum])
def test_a_gated_sum_of_your_own_runs_on_the_scan(cell, dtype) -> None:
    kind = type(CELLS[cell])
    own = copy.copy(CELLS[cell])
    object.__setattr__(own, "__class__", type("Own" + kind.__name__, (kind,), {}))
    assert not problem.has_kernels(own, "cpu")
    shape = SHAPES["projection"]
    fast, exact = twins(shape, dtype, cell=own, bidirectional=True)
    compare(fast, exact, shape, mask_of("left", shape["T"], shape["B"]))


# Large enough for more than one thread, in which all sequences share the units, or each thread has
# sequences of its own, or with a projection two threads have their own and three share the units.
THREADED = [
    dict(T=3, B=13, I=3, H=101),
    dict(T=2, B=49, I=3, H=53),
    dict(T=3, B=19, I=3, H=101, P=71),
]


@needs_kernels
@every_instruction_set
@pytest.mark.parametrize("threads", [1, 2, 3])
@every_name
def test_every_instruction_set_and_number_of_threads_agrees(cell, threads, name) -> None:
    skip_repeats(name, cell, torch.bfloat16)
    torch.set_num_threads(threads)
    with instruction_set(name):
        for dtype in [torch.bfloat16] if name in OWN_RECURRENCES else kernels.DTYPES:
            small = [SHAPES[kind] for kind in ("odd", "many-sequences", "projection-of-many")]
            for shape in small if threads == 1 else THREADED:
                mask = mask_of("left", shape["T"], shape["B"])
                compare(*twins(shape, dtype, cell=cell), shape, mask)


@needs_kernels
@every_vector_set
@pytest.mark.parametrize("cell", ["sru", "no-srnn-hidden"])
def test_a_few_sequences_are_shared_by_many_threads(cell, name) -> None:
    """The parts of a sequence are whole vectors, and so there may be fewer parts than threads."""
    torch.set_num_threads(8)
    with instruction_set(name):
        for B, H in product((1, 2, 3), (17, 33, 65, 300)):
            shape = dict(T=64, B=B, I=3, H=H)
            compare(*twins(shape, cell=cell), shape, mask_of("left", 64, B))


@needs_kernels
@every_name
def test_the_same_inputs_give_the_same_bits(cell) -> None:
    torch.set_num_threads(2)
    layer = WsumLSTM(20, 65, cell=cell, backend="cpp", bidirectional=True)
    x, mask = torch.randn(7, 33, 20, requires_grad=True), mask_of("right", 7, 33)
    runs = []
    for _ in range(3):
        y, state = layer(x, None, mask)
        runs.append((y, *state, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])))
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


@needs_kernels
@every_name
def test_strided_input_and_expanded_gradients_are_read_correctly(cell) -> None:
    fast, exact = twins(SHAPES["odd"], cell=cell)
    results = []
    for layer in (fast, exact):
        torch.manual_seed(1)
        x = torch.randn(13, 7, 10).to(layer.weight_ih_l0)[:, :, ::2].permute(2, 0, 1)
        x.requires_grad_()
        h, c = (torch.zeros(1, 1, 33).to(x).expand(1, 13, 33) for _ in "hc")
        mask = mask_of("left", 13, 5).t()
        y, _ = layer(x, (h, c), mask)
        (dx,) = torch.autograd.grad(y.sum(), x)  # the gradient of y is one number, expanded
        results.append((y.detach(), dx))
    for found, right in zip(*results, strict=True):
        assert_near(found, right, torch.float32, "")


@needs_kernels
@every_name
def test_partial_gradients_and_a_reused_output_are_correct(cell) -> None:
    fast, exact = twins(SHAPES["odd"], cell=cell)
    results = []
    for layer in (fast, exact):
        torch.manual_seed(1)
        layer.requires_grad_(False)
        h, c = (torch.randn(1, 13, 33).to(layer.weight_ih_l0) for _ in "hc")
        # the part of the state from which the cell starts
        given = h if layer.cell.hidden_is_memory or not layer.cell.has_memory else c
        given.requires_grad_()
        y, (h_n, c_n) = layer(torch.randn(5, 13, 7).to(c), (h, c))
        loss = (y * y.detach().cos()).sum() + y.square().sum() + h_n.sum() * c_n.sum()
        results.append(torch.autograd.grad(loss, given)[0])
    assert_near(*results, torch.float32, "the gradient of the initial state")
    y, _ = fast(torch.randn(5, 13, 7))
    assert not y.requires_grad


@needs_kernels
def test_the_gradient_of_the_projection_alone_is_correct() -> None:
    layer = WsumLSTM(3, 5, proj_size=2, backend="cpp").requires_grad_(False)
    layer.weight_hr_l0.requires_grad_()
    x = torch.randn(4, 2, 3)
    (found,) = torch.autograd.grad(layer(x)[0].sum(), layer.weight_hr_l0)
    layer.backend = "reference"
    (expected,) = torch.autograd.grad(layer(x)[0].sum(), layer.weight_hr_l0)
    torch.testing.assert_close(found, expected)


RECURRENT = [n for n, c in CELLS.items() if c.has_recurrent_matrix and c.has_memory]
# a cell, the row of a gate (the forget gate, z_t or r_t of the GRU), and the number of steps
GATES = [*((cell, 1, 64) for cell in RECURRENT), ("gru", 0, 1), ("gru", 0, 2)]


@needs_kernels
@pytest.mark.parametrize(("cell", "row", "steps"), GATES)
def test_gates_near_one_keep_their_gradient_in_16_bits(cell, row, steps) -> None:
    fast, exact = twins(dict(I=16, H=32), torch.bfloat16, cell=cell)
    gate = slice(32 * row, 32 * (row + 1))
    x, h = torch.randn(steps, 4, 16).bfloat16(), torch.randn(1, 4, 32).bfloat16()
    gradients = []
    for layer in (fast, exact):
        with torch.no_grad():
            layer.bias_ih_l0[gate] += 7
        dtype = layer.weight_ih_l0.dtype
        y, _ = layer(x.to(dtype), (h.to(dtype), h.to(dtype)))
        y[-1].sum().backward()  # through all steps
        gradients.append(layer.weight_ih_l0.grad[gate].double())
    found, right = gradients
    assert (found - right).norm() < 0.1 * right.norm()


@needs_kernels
def test_vectors_are_not_rounded_to_16_bits() -> None:
    """Those of the SRU: from the same products in 16 bits, both backends compute in 32 bits."""
    layers = [WsumLSTM(8, 16, cell="sru", backend=backend) for backend in ("cpp", "reference")]
    layers[1].load_state_dict(layers[0].state_dict())
    x, results = torch.randn(50, 4, 8), []
    for layer in layers:
        with torch.autocast("cpu", torch.bfloat16):
            _, (_, c_n) = layer(x)
        c_n.sum().backward()
        results.append((c_n, layer.v_f_l0.grad))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


@needs_kernels
@pytest.mark.parametrize(
    "cell", ["lstm", "no-gates", "no-srnn-hidden", "gru", "mingru", "minlstm", "qrnn", "sru"]
)
def test_two_thousand_steps_and_saturated_gates_stay_accurate(cell) -> None:
    shape = dict(T=2_000, B=2, I=3, H=5)
    fast, exact = twins(shape, cell=cell)
    with torch.no_grad():
        for layer in (fast, exact):
            layer.weight_ih_l0.mul_(50 / layer.weight_ih_l0.abs().amax())
            for name, weight in layer.named_parameters():  # contracting, so that errors decay
                if name.startswith(("weight_hh", "v_")):
                    weight.mul_(0.1)
    x = torch.rand(2_000, 2, 3) * 2 - 1
    results = []
    for layer in (fast, exact):
        inputs = x.to(layer.weight_ih_l0).requires_grad_()
        y, (_, c_n) = layer(inputs)
        results.append((y.detach(), c_n.detach(), torch.autograd.grad(y[-1].sum(), inputs)[0]))
    for found, right in zip(*results, strict=True):
        scale = right.abs().amax().clamp_min(1)
        assert found.isfinite().all()
        assert ((found.double() - right).abs().amax() / scale) < 2e-4


@needs_kernels
def test_program_threads_can_share_a_layer() -> None:
    layer = WsumLSTM(20, 65, 2, backend="cpp")
    x = torch.randn(7, 29, 20)

    def run(_: int) -> list[Tensor]:
        return list(torch.autograd.grad(layer(x)[0].square().sum(), list(layer.parameters())))

    expected = run(0)
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(run, range(12)):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


# The choice


def test_without_a_compiler_the_package_is_built_without_kernels(tmp_path) -> None:
    source = Path(__file__).parent.parent
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(source / name, tmp_path)
    shutil.copytree(
        source / "fairseq_wsum", tmp_path / "fairseq_wsum", ignore=shutil.ignore_patterns("*.so")
    )
    built = subprocess.run(
        [sys.executable, "setup.py", "build"],
        cwd=tmp_path,
        env={**os.environ, "CC": "/bin/false", "CXX": "/bin/false"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    assert '"fairseq_wsum._kernels" failed' in built.stderr
    assert list(tmp_path.glob("build/lib*/fairseq_wsum/layer/wsum_lstm.py"))
    assert not list(tmp_path.glob("build/lib*/fairseq_wsum/_kernels*"))


def test_each_source_of_the_library_changes_its_fingerprint(tmp_path) -> None:
    shutil.copytree(CSRC, tmp_path / "csrc")
    for name in (".kernels.cpp.swp", "kernels.cpp~", "._kernels.h"):  # of editors
        (tmp_path / "csrc" / name).touch()
    assert fingerprint(tmp_path / "csrc") == fingerprint()
    found = {fingerprint()}
    for path in sources(tmp_path / "csrc"):
        path.write_text(path.read_text() + "// changed\n")
        found.add(fingerprint(tmp_path / "csrc"))
    assert len(found) == 1 + len(sources())
