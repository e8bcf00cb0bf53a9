"""The C++ backend against the reference in float64.

T time steps, B sequences, I input features, H hidden units, P features of h.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fairseq_wsum import ABLATIONS, WsumLSTM, backends, ops
from fairseq_wsum.backends import cpp
from fairseq_wsum.bench.layers import peak_memory

needs_kernels = pytest.mark.skipif(cpp.why_missing() is not None, reason=f"{cpp.why_missing()}")

CELLS = [(name, False) for name in ABLATIONS] + [
    (name, True) for name in ABLATIONS if name != "no-gates"
]
CELL_IDS = [name + ("-coupled" if coupled else "") for name, coupled in CELLS]
every_cell = pytest.mark.parametrize(("ablation", "coupled"), CELLS, ids=CELL_IDS)
every_ablation = pytest.mark.parametrize("ablation", ABLATIONS)

# From one unit over odd numbers to more than a panel; batches smaller and larger than a tile, and
# larger than what each of two threads gets of its own.
SHAPES = {
    "one-of-each": dict(T=1, B=1, I=1, H=1),
    "one-step": dict(T=1, B=5, I=3, H=7),
    "one-sequence": dict(T=6, B=1, I=5, H=33),
    "odd": dict(T=5, B=13, I=7, H=33),
    "many-sequences": dict(T=3, B=31, I=4, H=20),
    "projection": dict(T=5, B=7, I=6, H=33, P=7),
    "projection-of-many": dict(T=4, B=27, I=6, H=20, P=17),
}

# Largest difference from float64, over the largest number of the tensor or 0.1. Measured over all
# tests here: 8e-7 and 0.014. In bfloat16 (8 bits) the pre-activations and gates are rounded.
TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 0.03}


def assert_near(found: Tensor, exact: Tensor, dtype: torch.dtype, what: str) -> None:
    assert found.isfinite().all(), what
    scale = exact.abs().amax().clamp_min(0.1) if exact.numel() else 1
    error = (found.double() - exact).abs() / scale
    assert error.numel() == 0 or error.amax() < TOLERANCE[dtype], f"{what}: {error.amax():.2g}"


def twins(
    shape: dict[str, int], dtype: torch.dtype = torch.float32, **options: object
) -> tuple[WsumLSTM, WsumLSTM]:
    """A layer on the C++ backend, and the same with the same numbers on the float64 reference."""
    sizes = shape["I"], shape["H"]
    options = {"proj_size": shape.get("P", 0), **options}
    fast = WsumLSTM(*sizes, dtype=dtype, backend="cpp", **options)
    exact = WsumLSTM(*sizes, dtype=torch.float64, backend="reference", **options)
    exact.load_state_dict(fast.state_dict())
    return fast, exact


def mask_of(side: str | None, time: int, batch: int) -> Tensor | None:
    """Sequences of all lengths from 0 on, with padding on one side."""
    if side is None:
        return None
    lengths = torch.arange(batch) % (time + 1)
    steps = torch.arange(time).unsqueeze(1)
    return steps >= lengths if side == "right" else steps < time - lengths


def compare(
    fast: WsumLSTM, exact: WsumLSTM, shape: dict[str, int], mask: Tensor | None = None
) -> None:
    """Outputs, final states and every gradient, from random cotangents on all of them."""
    dtype = fast.weight_ih_l0.dtype
    slots, features = fast.num_layers * fast.num_directions, fast.output_size
    T, B = shape["T"], shape["B"]
    x = torch.randn(T, B, shape["I"]).to(dtype)
    h, c = torch.randn(slots, B, features).to(dtype), torch.randn(slots, B, shape["H"]).to(dtype)
    cotangents = [
        torch.randn(size).to(dtype)
        for size in ((T, B, fast.num_directions * features), h.shape, c.shape)
    ]
    results = []
    for layer in (fast, exact):
        real = layer.weight_ih_l0.dtype
        inputs = [t.to(real).requires_grad_() for t in (x, h, c)]
        y, (h_n, c_n) = layer(inputs[0], (inputs[1], inputs[2]), mask)
        wanted = [*inputs, *layer.parameters()]
        given = [t.to(real) for t in cotangents]
        gradients = torch.autograd.grad((y, h_n, c_n), wanted, given, allow_unused=True)
        results.append((y, h_n, c_n, *gradients))
    names = ["y", "h_n", "c_n", "dx", "dh_0", "dc_0", *dict(fast.named_parameters())]
    for name, found, right in zip(names, *results, strict=True):
        assert (found is None) == (right is None), name
        if found is not None:
            assert_near(found.detach(), right.detach(), dtype, name)


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("side", [None, "left", "right"], ids=lambda side: f"pad-{side}")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@every_cell
def test_it_computes_what_the_reference_computes(ablation, coupled, shape, side, dtype) -> None:
    options = dict(ablation=ablation, coupled_gates=coupled, bidirectional=True)
    fast, exact = twins(shape, dtype, **options)
    compare(fast, exact, shape, mask_of(side, shape["T"], shape["B"]))


@needs_kernels
@pytest.mark.parametrize("name", ["avx512_bf16", "avx512", "avx2", "baseline"])
@pytest.mark.parametrize("threads", [1, 2, 3])
@every_ablation
def test_every_instruction_set_and_number_of_threads_agrees(ablation, threads, name) -> None:
    before = cpp.instruction_set()
    try:
        cpp.use_instruction_set(name)
    except ValueError as error:
        pytest.skip(str(error))
    torch.set_num_threads(threads)
    try:
        for dtype in cpp.DTYPES:
            for kind in ("odd", "many-sequences", "projection-of-many"):
                shape = SHAPES[kind]
                mask = mask_of("left", shape["T"], shape["B"])
                compare(*twins(shape, dtype, ablation=ablation), shape, mask)
    finally:
        cpp.use_instruction_set(before)


@needs_kernels
@every_ablation
def test_layers_upon_layers_without_bias(ablation) -> None:
    shape = SHAPES["odd"]
    options = dict(ablation=ablation, num_layers=2, bias=False, bidirectional=True)
    compare(*twins(shape, **options), shape)


@needs_kernels
@every_ablation
def test_the_same_inputs_give_the_same_bits(ablation) -> None:
    torch.set_num_threads(2)
    layer = WsumLSTM(20, 65, ablation=ablation, backend="cpp", bidirectional=True)
    x, mask = torch.randn(7, 29, 20, requires_grad=True), mask_of("right", 7, 29)
    runs = []
    for _ in range(3):
        y, state = layer(x, None, mask)
        runs.append((y, *state, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])))
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


@needs_kernels
@every_ablation
def test_memory_that_is_not_dense_and_expanded_gradients_are_read_right(ablation) -> None:
    fast, exact = twins(SHAPES["odd"], ablation=ablation)
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
@every_ablation
def test_only_the_gradients_that_are_wanted_and_one_output_used_twice(ablation) -> None:
    fast, exact = twins(SHAPES["odd"], ablation=ablation)
    results = []
    for layer in (fast, exact):
        torch.manual_seed(1)
        layer.requires_grad_(False)
        c = torch.randn(1, 13, 33).to(layer.weight_ih_l0).requires_grad_()
        h = torch.randn(1, 13, 33).to(c)
        y, (h_n, c_n) = layer(torch.randn(5, 13, 7).to(c), (h, c))
        loss = (y * y.detach().cos()).sum() + y.square().sum() + h_n.sum() * c_n.sum()
        results.append(torch.autograd.grad(loss, c)[0])
    assert_near(*results, torch.float32, "dc_0")
    y, _ = fast(torch.randn(5, 13, 7))
    assert not y.requires_grad


@needs_kernels
def test_the_gradient_of_the_projection_alone() -> None:
    layer = WsumLSTM(3, 5, proj_size=2, backend="cpp").requires_grad_(False)
    layer.weight_hr_l0.requires_grad_()
    x = torch.randn(4, 2, 3)
    (found,) = torch.autograd.grad(layer(x)[0].sum(), layer.weight_hr_l0)
    layer.backend = "reference"
    (expected,) = torch.autograd.grad(layer(x)[0].sum(), layer.weight_hr_l0)
    torch.testing.assert_close(found, expected)


@needs_kernels
@every_ablation
def test_states_split_and_carried_over_are_one_run(ablation) -> None:
    layer = WsumLSTM(6, 33, ablation=ablation, backend="cpp")
    x = torch.randn(11, 5, 6)
    whole, state = layer(x)
    first, carried = layer(x[:4])
    second, last = layer(x[4:], carried)
    torch.testing.assert_close(torch.cat((first, second)), whole)
    torch.testing.assert_close(last, state)


@needs_kernels
@every_ablation
def test_ten_thousand_steps_and_saturated_gates_stay_right(ablation) -> None:
    shape = dict(T=10_000, B=2, I=3, H=5)
    fast, exact = twins(shape, ablation=ablation)
    with torch.no_grad():
        for layer in (fast, exact):
            layer.weight_ih_l0.mul_(50 / layer.weight_ih_l0.abs().amax())
            if exact.cell.is_recurrent:  # contracting, so that what a step rounds fades
                layer.weight_hh_l0.mul_(0.1)
    x = torch.rand(10_000, 2, 3) * 2 - 1
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
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@every_ablation
def test_what_is_not_a_number_is_not_hidden_and_stays_in_its_sequence(ablation, bad) -> None:
    layer = WsumLSTM(3, 20, ablation=ablation, backend="cpp")
    with torch.no_grad():
        layer.weight_ih_l0.abs_()
    x = torch.randn(4, 14, 3)
    clean, _ = layer(x)
    x[2, 5] = bad
    y, _ = layer(x)
    assert torch.equal(y[:2], clean[:2])
    others = torch.arange(14) != 5
    assert torch.equal(y[:, others], clean[:, others])
    if bad != bad:
        assert y[2:, 5].isnan().all()
    # at padding it does no harm
    mask = torch.zeros(4, 14, dtype=torch.bool)
    mask[2:, 5] = True
    y, _ = layer(x, None, mask)
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@needs_kernels
@every_ablation
def test_an_empty_batch_gives_an_empty_result(ablation) -> None:
    layer = WsumLSTM(3, 20, ablation=ablation, backend="cpp")
    x = torch.randn(4, 0, 3, requires_grad=True)
    y, (h_n, c_n) = layer(x)
    y.sum().backward()
    assert y.shape == (4, 0, 20) and h_n.shape == c_n.shape == (1, 0, 20)
    assert all(p.grad.eq(0).all() for p in layer.parameters())


@needs_kernels
@every_ablation
def test_a_second_derivative_is_refused(ablation) -> None:
    layer = WsumLSTM(3, 4, ablation=ablation, backend="cpp")
    x = torch.randn(4, 2, 3, requires_grad=True)
    (dx,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="backend='reference'"):
        dx.sum().backward()


# torch's view of the operators


def operator_inputs(ablation: str, side: str | None = "left") -> tuple[object, tuple[object, ...]]:
    """An operator for this cell, with inputs that it takes."""
    cell = WsumLSTM(1, 1, ablation=ablation).cell
    T, B, H = 4, 3, 5
    z = torch.randn(T, B, len(cell.input_rows) * H, requires_grad=True)
    c_0 = torch.randn(B, H, requires_grad=True) if cell.gates else None
    rest = (mask_of(side, T, B), ops.encode(cell), False, True)
    if not cell.is_recurrent:
        return torch.ops.fairseq_wsum.gated_sum, (z, c_0, *rest)
    w_hh = torch.randn(len(cell.hidden_rows) * H, H, requires_grad=True)
    h_0 = torch.randn(B, H, requires_grad=True)
    return torch.ops.fairseq_wsum.recurrence, (z, w_hh, None, h_0, c_0, *rest)


@needs_kernels
@pytest.mark.parametrize("ablation", ["lstm", "no-srnn-hidden", "no-gates"])
def test_memory_grows_with_the_length_and_no_faster(ablation) -> None:
    layer = WsumLSTM(16, 16, ablation=ablation, backend="cpp")

    def memory(steps: int) -> int:
        x = torch.randn(steps, 4, 16)
        return peak_memory(lambda: layer(x)[0].sum().backward())

    assert memory(400) < 1.05 * 2 * memory(200)


@needs_kernels
@pytest.mark.parametrize("side", [None, "left"], ids=lambda side: f"pad-{side}")
@every_ablation
def test_torch_finds_no_fault_with_the_operators(ablation, side) -> None:
    operator, inputs = operator_inputs(ablation, side)
    torch.library.opcheck(operator, inputs)


@needs_kernels
def test_torch_finds_no_fault_with_a_projection_and_states_in_another_order() -> None:
    z, w_hh, w_hr = torch.randn(4, 3, 15), torch.randn(15, 2), torch.randn(2, 5)
    h_0, c_0 = torch.randn(2, 3).t(), torch.randn(5, 3).t()  # not contiguous
    tensors = [t.requires_grad_() for t in (z, w_hh, w_hr, h_0, c_0)]
    bits = ops.encode(ABLATIONS["no-out"])
    inputs = (*tensors, mask_of("right", 4, 3), bits, True, True)
    torch.library.opcheck(torch.ops.fairseq_wsum.recurrence, inputs)
    z, bits = torch.randn(4, 3, 20, requires_grad=True), ops.encode(ABLATIONS["no-srnn-hidden"])
    inputs = (z, tensors[4], None, bits, True, True)
    torch.library.opcheck(torch.ops.fairseq_wsum.gated_sum, inputs)


@needs_kernels
def test_tensors_of_another_type_or_cell_are_refused() -> None:
    z, c_0, bits = torch.randn(4, 3, 20), torch.randn(3, 5), ops.encode(ABLATIONS["no-srnn-hidden"])
    gated_sum = torch.ops.fairseq_wsum.gated_sum
    with pytest.raises(ValueError, match=r"take z in torch\.float16"):
        gated_sum(z.half(), c_0, None, bits, False, False)
    with pytest.raises(ValueError, match=r"take c_0 in torch\.float32, got torch\.bfloat16"):
        gated_sum(z, c_0.bfloat16(), None, bits, False, False)
    with pytest.raises(ValueError, match="no cell 0"):
        gated_sum(z[..., :5], c_0, None, 0, False, False)


@needs_kernels
def test_tensors_of_another_shape_are_refused() -> None:
    layer = WsumLSTM(3, 6, ablation="lstm", backend="cpp")
    z, h_0, c_0, weight = torch.randn(4, 2, 24), *torch.zeros(2, 2, 6), layer.weight_hh_l0
    recurrence, bits = torch.ops.fairseq_wsum.recurrence, ops.encode(layer.cell)
    with pytest.raises(ValueError, match=r"padding of size \(4, 2\), got \(2, 4\)"):
        recurrence(z, weight, None, h_0, c_0, torch.zeros(2, 4).bool(), bits, False, True)
    with pytest.raises(ValueError, match=r"z of size \(4, 5, 24\), got \(4, 2, 24\)"):
        recurrence(z, weight, None, torch.zeros(5, 6), c_0, None, bits, False, True)
    with pytest.raises(ValueError, match=r"z of size \(4, 2, 24\), got \(4, 0, 24\)"):
        recurrence(z[:, :0], weight, None, h_0, c_0, None, bits, False, True)
    with pytest.raises(ValueError, match="take a c_0 for this cell"):
        recurrence(z, weight, None, h_0, None, None, bits, False, True)
    backward = torch.ops.fairseq_wsum.recurrence_backward
    with pytest.raises(ValueError, match=r"cells of size \(4, 2, 6\), got \(0,\)"):
        rest = (torch.empty(0), bits, False)
        backward(None, None, None, weight, None, h_0, c_0, None, z, *rest)
    with pytest.raises(ValueError, match=r"w_hh of size \(24, 6\), got \(24, 3\)"):
        torch.func.functional_call(layer, {"weight_hh_l0": weight[:, :3]}, (z[..., :3],))


@needs_kernels
def test_without_memory_for_scratch_space_it_is_a_memory_error() -> None:
    too_wide = cpp._Recurrence(T=1, B=1, H=1, P=1 << 50, cell=ops.SRNN, threads=1)
    with pytest.raises(MemoryError, match="wsum_recurrence"):
        cpp._call("wsum_recurrence", too_wide)


@needs_kernels
def test_torch_func_gets_the_reference_or_an_error_that_says_so() -> None:
    x = torch.randn(4, 2, 3)
    fast, auto = (WsumLSTM(3, 6, ablation="no-srnn", backend=name) for name in ("cpp", "auto"))
    torch.func.vmap(lambda x: auto(x)[0], in_dims=1)(x)
    with pytest.raises(RuntimeError, match=r"'cpp' cannot run this layer: .* torch\.func"):
        torch.func.vmap(lambda x: fast(x)[0], in_dims=1)(x)


@needs_kernels
@pytest.mark.parametrize(
    ("ablation", "backend"),
    [
        ("lstm", "aot_eager"),
        ("no-srnn-hidden", "aot_eager"),
        pytest.param("no-srnn-hidden", "inductor", marks=pytest.mark.slow),
    ],
)
def test_compile_traces_the_layer_for_every_length_at_once(ablation, backend) -> None:
    torch._dynamo.reset()
    layer = WsumLSTM(3, 20, 2, bidirectional=True, ablation=ablation, backend="cpp")
    graphs, made = [], 0

    def compile_graph(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        graphs.append(graph)
        return torch._dynamo.lookup_backend(backend)(graph, inputs)

    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=compile_graph)
    for time in (4, 7, 9):
        x, mask = torch.randn(time, 5, 3), mask_of("right", time, 5)
        results = []
        for module in (compiled, layer):
            layer.zero_grad()
            y, state = module(x, None, mask)
            y.square().sum().backward()
            results.append((y, *state, *[p.grad.clone() for p in layer.parameters()]))
        for found, right in zip(*results, strict=True):
            torch.testing.assert_close(found, right)
        made = made or len(graphs)
    assert len(graphs) == made


@needs_kernels
@pytest.mark.parametrize("ablation", ["lstm", "no-srnn-hidden"])
def test_what_was_exported_without_gradients_has_gradients(ablation) -> None:
    layer = WsumLSTM(3, 5, ablation=ablation, backend="cpp")
    x, mask = torch.randn(4, 2, 3), mask_of("left", 4, 2)
    with torch.no_grad():
        exported = torch.export.export(layer, (x, None, mask)).module()
    gradients = []
    for module in (layer, exported):
        y, _ = module(x, None, mask)
        gradients.append(torch.autograd.grad(y.square().sum(), list(module.parameters())))
    torch.testing.assert_close(*gradients)


@needs_kernels
@pytest.mark.parametrize("ablation", ["lstm", "no-srnn-hidden"])
def test_export_keeps_the_operators(ablation) -> None:
    layer = WsumLSTM(3, 20, ablation=ablation, backend="cpp").eval()
    time = torch.export.Dim("time", min=2, max=100)
    program = torch.export.export(layer, (torch.randn(4, 5, 3),), dynamic_shapes=({0: time},))
    x = torch.randn(9, 5, 3)
    torch.testing.assert_close(program.module()(x), layer(x))
    operator = "gated_sum" if ablation == "no-srnn-hidden" else "recurrence"
    assert f"fairseq_wsum.{operator}" in program.graph_module.code


@needs_kernels
@every_ablation
def test_autocast_takes_bfloat16_and_keeps_the_memory_cell_in_32_bits(ablation) -> None:
    fast, exact = twins(SHAPES["odd"], ablation=ablation)
    x = torch.randn(5, 13, 7)
    with torch.autocast("cpu", torch.bfloat16):
        y, (h_n, c_n) = fast(x)
    right, (_, c_right) = exact(x.double())
    assert (y.dtype, h_n.dtype, c_n.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    assert_near(y.detach(), right.detach(), torch.bfloat16, "y")
    assert_near(c_n.detach(), c_right.detach(), torch.bfloat16, "c_n")
    y.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in fast.parameters())


# The choice


@needs_kernels
def test_auto_takes_these_kernels_for_32_and_16_bits_on_the_cpu() -> None:
    cell = ABLATIONS["lstm"]
    for dtype, name in (
        (torch.float32, "cpp"),
        (torch.bfloat16, "cpp"),
        (torch.float64, "reference"),
        (torch.float16, "reference"),
    ):
        assert backends.choose("auto", cell, torch.device("cpu"), dtype).name == name
    with pytest.raises(RuntimeError, match=r"'cpp' cannot run this layer: .*not in torch\.float64"):
        WsumLSTM(3, 4, dtype=torch.float64, backend="cpp")(torch.zeros(2, 1, 3).double())


def test_without_kernels_auto_warns_and_a_name_is_an_error(monkeypatch) -> None:
    monkeypatch.setattr(cpp._LIBRARY, "_found", (None, "they were never built"))
    x = torch.randn(3, 2, 3)
    with pytest.warns(UserWarning, match="slower reference backend: they were never built"):
        y, _ = WsumLSTM(3, 4)(x)
    assert y.shape == (3, 2, 4)
    with pytest.raises(RuntimeError, match="they were never built"):
        WsumLSTM(3, 4, backend="cpp")(x)


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
    assert list(tmp_path.glob("build/lib*/fairseq_wsum/layer.py"))
    assert not list(tmp_path.glob("build/lib*/fairseq_wsum/_kernels*"))
