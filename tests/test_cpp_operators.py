"""The C++ kernels as torch operators: opcheck, compile, export, autocast and memory."""

import pytest
import torch
from cpp_oracle import needs_kernels
from layer_oracle import mask_of
from layers import peak_on_cpu
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fairseq_wsum import CELLS, WsumLSTM, kernels
from fairseq_wsum.recurrence import cpp, problem


def operator_inputs(
    cell: str, side: str | None = "left", dtype: torch.dtype = torch.float32
) -> tuple[object, tuple[object, ...]]:
    """An operator for this cell, with inputs that it takes."""
    options = dict(dtype=dtype, requires_grad=True)
    cell = WsumLSTM(1, 1, cell=cell).cell
    T, B, H = 4, 3, 5
    z = torch.randn(T, B, len(cell.rows) * H, **options)
    c_0 = torch.randn(B, H, requires_grad=True) if cell.has_memory else None
    rest = (mask_of(side, T, B), problem.encode(cell), False, True)
    if not cell.has_recurrent_matrix:
        vectors = len(cell.vectors)
        v = torch.randn(vectors, H, requires_grad=True) if vectors else None
        return torch.ops.fairseq_wsum.memory_cell, (z, v, c_0, *rest)
    w_hh = torch.randn(len(cell.hidden_rows) * H, H, **options)
    h_0 = torch.randn(B, H, **options)
    b_inner = torch.randn(len(cell.hidden_rows) * H, **options) if cell.inner_bias_rows else None
    return torch.ops.fairseq_wsum.recurrence, (z, w_hh, b_inner, None, h_0, c_0, *rest)


@needs_kernels
@pytest.mark.parametrize("cell", ["lstm", "no-srnn-hidden", "no-gates", "gru", "mingru", "sru"])
def test_memory_grows_linearly_with_the_length(cell) -> None:
    layer = WsumLSTM(16, 16, cell=cell, backend="cpp")

    def memory(steps: int) -> int:
        x = torch.randn(steps, 4, 16)
        return peak_on_cpu(lambda: layer(x)[0].sum().backward())

    memory(1)  # the first call of a process may allocate more
    assert memory(400) < 1.05 * 2 * memory(200)


@needs_kernels
@pytest.mark.parametrize("frozen", [False, True], ids=["", "frozen"])
@pytest.mark.parametrize("cell", ["lstm", "no-srnn-hidden", "sru"])
def test_a_second_derivative_is_rejected(cell, frozen) -> None:
    layer = WsumLSTM(3, 4, cell=cell, backend="cpp").requires_grad_(not frozen)
    x = torch.randn(4, 2, 3, requires_grad=True)
    y, _ = layer(x)
    with pytest.raises(NotImplementedError, match="backend='reference'"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


@needs_kernels
@pytest.mark.parametrize("reentrant", [False, True], ids=["", "reentrant"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "no-srnn-hidden", "sru"])
def test_activation_checkpointing_gives_the_same_gradients(cell, reentrant) -> None:
    layer = WsumLSTM(3, 5, cell=cell, backend="cpp")
    x = torch.randn(4, 2, 3, requires_grad=True)
    gradients = []
    for y in (layer(x)[0], checkpoint(lambda x: layer(x)[0], x, use_reentrant=reentrant)):
        layer.zero_grad()
        y.square().sum().backward()
        gradients.append([p.grad.clone() for p in layer.parameters()])
    torch.testing.assert_close(*gradients)


@needs_kernels
@pytest.mark.parametrize(
    ("side", "dtype"), [("left", torch.float32), (None, torch.bfloat16)], ids=["fp32", "bf16"]
)
@pytest.mark.parametrize("cell", ["no-gates", "gru", "sru"])
def test_the_operators_pass_torchs_opcheck(cell, side, dtype) -> None:
    operator, (*inputs, save) = operator_inputs(cell, side, dtype)
    torch.library.opcheck(operator, (*inputs, save))
    if side is None:  # nothing is saved
        torch.library.opcheck(operator, (*inputs, False))


@needs_kernels
def test_the_operators_pass_opcheck_with_a_projection_and_strided_states() -> None:
    z, w_hh, w_hr = torch.randn(4, 3, 15), torch.randn(15, 2), torch.randn(2, 5)
    h_0, c_0 = torch.randn(2, 3).t(), torch.randn(5, 3).t()  # not contiguous
    tensors = [t.requires_grad_() for t in (z, w_hh, w_hr, h_0, c_0)]
    cell_id = problem.encode(CELLS["no-out"])
    z, w_hh, *others = tensors
    inputs = (z, w_hh, None, *others, mask_of("right", 4, 3), cell_id, True, True)
    torch.library.opcheck(torch.ops.fairseq_wsum.recurrence, inputs)
    z = torch.randn(4, 3, 20, requires_grad=True)
    cell_id = problem.encode(CELLS["no-srnn-hidden"])
    inputs = (z, None, tensors[4], None, cell_id, True, True)
    torch.library.opcheck(torch.ops.fairseq_wsum.memory_cell, inputs)


Z, STATE, WEIGHT = torch.zeros(4, 2, 24), torch.zeros(2, 6), torch.zeros(24, 6)
MISTAKES = {
    "type": (dict(z=Z.half()), r"take float32 and bfloat16, got torch\.float16"),
    "types": (dict(c_0=STATE.bfloat16()), r"take c_0 of size .* got \(2, 6\) in torch.bfloat16"),
    "mask": (dict(padding_mask=torch.zeros(2, 4).bool()), r"padding of size \(4, 2\) .* \(2, 4\)"),
    "batch": (dict(h_0=torch.zeros(5, 6)), r"z of size \(4, 5, 24\) .* got \(4, 2, 24\)"),
    "no-steps": (dict(z=Z[:0]), "at least one time step"),
    "weight": (dict(w_hh=WEIGHT[:, :3]), r"w_hh of size \(24, 6\) .* got \(24, 3\)"),
}


@needs_kernels
@pytest.mark.parametrize(("wrong", "message"), MISTAKES.values(), ids=MISTAKES)
def test_tensors_of_another_type_or_shape_are_rejected(wrong, message) -> None:
    given = dict(z=Z, w_hh=WEIGHT, b_inner=None, w_hr=None, h_0=STATE, c_0=STATE)
    given |= dict(padding_mask=None, cell_id=problem.encode(CELLS["lstm"]))
    with pytest.raises(ValueError, match=message):
        torch.ops.fairseq_wsum.recurrence(**{**given, **wrong}, reverse=False, save=True)


@needs_kernels
def test_failing_to_allocate_scratch_space_is_a_memory_error() -> None:
    numbers = dict(T=1, B=1, H=1, P=1 << 50, rows=1, hidden_rows=1, saved_rows=1)
    numbers |= dict(cell_id=problem.SRNN)
    with pytest.raises(MemoryError, match="recurrence: not enough"):
        kernels.call("recurrence", cpp._Recurrence, torch.empty(0), numbers, {})


@needs_kernels
def test_torch_func_is_refused_clearly() -> None:
    x = torch.randn(4, 2, 3)
    fast = WsumLSTM(3, 6, cell="no-srnn", backend="cpp")
    with pytest.raises(RuntimeError, match=r"'cpp' cannot run this layer: .* torch\.func"):
        torch.func.vmap(lambda x: fast(x)[0], in_dims=1)(x)


@needs_kernels
@pytest.mark.parametrize(
    ("cell", "backend"),
    [
        ("lstm", "aot_eager"),
        ("no-srnn-hidden", "aot_eager"),
        pytest.param("no-srnn-hidden", "inductor", marks=pytest.mark.slow),
    ],
)
def test_compile_traces_the_layer_for_every_length_at_once(cell, backend) -> None:
    torch._dynamo.reset()
    layer = WsumLSTM(3, 20, bidirectional=True, cell=cell, backend="cpp")
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
        torch.testing.assert_close(*results)
        made = made or len(graphs)
    assert len(graphs) == made


@needs_kernels
@pytest.mark.parametrize("cell", ["lstm", "no-srnn-hidden"])
def test_a_layer_exported_without_gradients_has_gradients(cell) -> None:
    layer = WsumLSTM(3, 5, cell=cell, backend="cpp")
    x, mask = torch.randn(4, 2, 3), mask_of("left", 4, 2)
    with torch.no_grad():
        exported = torch.export.export(layer, (x, None, mask)).module()
    gradients = []
    for module in (layer, exported):
        y, _ = module(x, None, mask)
        gradients.append(torch.autograd.grad(y.square().sum(), list(module.parameters())))
    torch.testing.assert_close(*gradients)


class Own(type(CELLS["mingru"])):
    """A subclass has no kernels of its own, but the scan."""

    name = "own-gated-sum"


TIME, BATCH = torch.export.Dim("time", min=2, max=100), torch.export.Dim("batch")
ZERO = torch.zeros(1, 2, 5)
EXPORTED = {
    "recurrence": (dict(cell="lstm"), (torch.zeros(4, 2, 3),), ({0: TIME},)),
    "memory-cell": (dict(cell="no-srnn-hidden"), (torch.zeros(4, 2, 3),), ({0: TIME},)),
    "own-gated-sum": (dict(cell=Own()), (torch.zeros(4, 2, 3),), ({0: TIME},)),
    "window-and-mask": (
        dict(cell="qrnn", window=2),
        (torch.zeros(4, 2, 3), None, mask_of("left", 4, 2)),
        ({0: TIME}, None, {0: TIME}),
    ),
    "decoding-step": (
        dict(backend="auto"),
        (torch.zeros(1, 2, 3), (ZERO, ZERO)),
        ({1: BATCH}, ({1: BATCH}, {1: BATCH})),
    ),
}


@needs_kernels
@pytest.mark.parametrize("kind", EXPORTED)
def test_a_layer_is_exported_for_every_length_or_batch_size(kind) -> None:
    options, given, sizes = EXPORTED[kind]
    layer = WsumLSTM(3, 5, **{"backend": "cpp", **options}).eval()
    with torch.no_grad():
        program = torch.export.export(layer, given, dynamic_shapes=sizes)
        module = program.module()
        for size in (2, 9, 60):
            if kind == "decoding-step":
                other = torch.randn(1, size, 3), (torch.randn(1, size, 5),) * 2
            else:
                other = torch.randn(size, 2, 3), None, mask_of("left", size, 2)
                other = other[: len(given)]
            torch.testing.assert_close(module(*other), layer(*other))
    if kind in ("recurrence", "memory-cell"):
        assert f"fairseq_wsum.{kind.replace('-', '_')}" in program.graph_module.code
