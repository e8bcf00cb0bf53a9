"""The torch backend against the reference, and against torch's own modules."""

import copy
import warnings

import pytest
import torch
from layer_oracle import MODULES, assert_same, error_of, make, make_state, outputs_and_gradients
from torch import Tensor, nn

from fairseq_wsum import CELLS, WsumLSTM, kernels, recurrence
from fairseq_wsum.cells import LSTM
from fairseq_wsum.recurrence import torch_kernels, triton

CPU = torch.device("cpu")
KINDS = {
    "lstm": dict(cell="lstm"),
    "projected": dict(cell="lstm", proj_size=2),
    "no-gates": dict(cell="no-gates"),
    "gru": dict(cell="gru"),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
MASKS = {
    "whole": None,
    "left": [[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]],
    "right": [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1]],
    "holes": [[0, 1, 0, 1, 1, 0], [1, 0, 0, 1, 0, 1], [0, 0, 0, 0, 0, 1]],
    "all-of-one": [[1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]],
}


def both(dtype=torch.float64, **options) -> tuple[WsumLSTM, WsumLSTM]:
    """A layer on the torch backend, and the float64 reference with the same weights."""
    ours = make(backend="torch", **options).to(dtype)
    exact = make(backend="reference", **options)
    exact.load_state_dict(ours.state_dict())
    return ours, exact


def batch(layer, mask) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor | None]:
    """Input with NaN at padding, initial states, and the mask, T x B."""
    x = torch.randn(6, 3, 3, dtype=torch.float64)
    mask = None if mask is None else torch.tensor(mask, dtype=torch.bool).t()
    return (
        x if mask is None else x.masked_fill(mask[..., None], torch.nan),
        make_state(layer, 3),
        mask,
    )


@pytest.mark.parametrize(
    ("mask", "bias"),
    [*((name, True) for name in MASKS), ("whole", False)],
    ids=[*MASKS, "no-biases"],
)
@every_kind
def test_two_layers_in_both_directions_equal_the_reference(kind, mask, bias) -> None:
    ours, exact = both(num_layers=2, bidirectional=True, bias=bias, **kind)
    given = batch(exact, MASKS[mask])
    found, expected = (outputs_and_gradients(layer, *given) for layer in (ours, exact))
    assert_same(found, expected, rtol=1e-10, atol=1e-10)


# Measured with five seeds: at most 7.4e-7 in float32, 0.039 in bfloat16, and 0.0045 in float16.
TOLERANCES = {torch.float32: 5e-6, torch.bfloat16: 0.1, torch.float16: 0.02}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("mask", ["whole", "holes"])
@every_kind
def test_fewer_bits_stay_close_to_the_reference_in_float64(kind, mask, dtype) -> None:
    ours, exact = both(dtype, num_layers=2, bidirectional=True, **kind)
    x, state, mask = batch(exact, MASKS[mask])
    x, *state = (part.to(dtype).double() for part in (x, *state))
    found, expected = (outputs_and_gradients(layer, x, state, mask) for layer in (ours, exact))
    for a, b in zip(found.values(), expected.values(), strict=True):
        assert error_of(a, b) <= TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("units", [4, 33])
def test_padding_keeps_the_memory_cell_to_the_bit(dtype, units) -> None:
    layer = WsumLSTM(3, units, backend="torch", dtype=dtype)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=30)  # the other parts of the gates are large, too
    x, state, found = torch.randn(4, 2, 3, dtype=dtype), make_state(layer, 2), []
    for padding in (1, 50):
        longer = torch.cat((x, torch.full((padding, 2, 3), torch.nan, dtype=dtype)))
        found.append(layer(longer, state, torch.arange(4 + padding)[:, None].expand(-1, 2) >= 4))
    assert_same(found[0][1], found[1][1], rtol=0, atol=0)
    assert_same(found[0][1], layer(x, state)[1])


def test_the_memory_cell_of_a_padded_sequence_keeps_more_bits_than_the_layer_has() -> None:
    layer = WsumLSTM(3, 4, backend="torch", dtype=torch.bfloat16)
    h_0, c_0 = torch.zeros(1, 2, 4, dtype=torch.bfloat16), torch.randn(1, 2, 4)
    mask = torch.tensor([[True, False]] * 3)
    _, (_, c_n) = layer(torch.zeros(3, 2, 3, dtype=torch.bfloat16), (h_0, c_0), mask)
    assert c_n.dtype == torch.float32 and torch.equal(c_n[:, 0], c_0[:, 0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@every_kind
def test_the_results_are_those_of_torchs_modules(kind, dtype) -> None:
    ours = WsumLSTM(3, 4, 2, bidirectional=True, dtype=dtype, backend="torch", **kind)
    sizes = dict(proj_size=kind["proj_size"]) if "proj_size" in kind else {}
    module = MODULES[ours.cell.name]
    theirs = module(3, 4, 2, bidirectional=True, dtype=dtype, **sizes)
    theirs.load_state_dict(ours.state_dict())
    x, (h_0, c_0) = torch.randn(5, 3, 3, dtype=dtype), make_state(ours, 3)
    y, (h_n, c_n) = ours(x, (h_0, c_0))
    lstm = module is nn.LSTM
    y_torch, final = theirs(x, (h_0, c_0) if lstm else h_0)
    # MKL may round a row of a product by its place, as it does on AMD's processors
    tolerance = dict(rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-14)
    assert_same((y, h_n), (y_torch, final[0] if lstm else final), **tolerance)
    assert_same(c_n, final[1] if lstm else c_0, **tolerance)


@pytest.mark.parametrize("shape", [(1, 3), (4, 1), (1, 1), (3, 0)], ids=str)
@every_kind
def test_small_and_empty_batches_have_the_results_of_the_reference(kind, shape) -> None:
    ours, exact = both(bidirectional=True, **kind)
    x, state = torch.randn(*shape, 3, dtype=torch.float64), make_state(ours, shape[1])
    assert_same(ours(x, state), exact(x, state))
    mask = torch.zeros(shape, dtype=torch.bool)
    assert_same(ours(x, state, mask), exact(x, state))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@every_kind
def test_second_derivatives_on_a_cpu_equal_those_of_the_reference(kind, dtype) -> None:
    ours, exact = both(dtype, bidirectional=True, **kind)
    mask = torch.tensor(MASKS["holes"], dtype=torch.bool).t()
    x = torch.randn(6, 3, 3).double()
    results = []
    for layer in (ours, exact):
        given = x.to(layer.weight_ih_l0.dtype).requires_grad_()
        inputs = [given, *layer.parameters()]
        first = torch.autograd.grad(
            layer(given, None, mask)[0].square().sum(), inputs, create_graph=True
        )
        second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
        results.append([g.double() for g in second])
    assert_same(*results, rtol=1e-4 if dtype == torch.float32 else 1e-8, atol=1e-5)


# Types


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@every_kind
def test_autocast_computes_in_16_bits_and_returns_the_memory_cell_in_its_own_type(
    kind, masked
) -> None:
    layer = WsumLSTM(3, 4, 2, bidirectional=True, backend="torch", **kind)
    x, state = torch.randn(6, 3, 3), make_state(layer, 3)
    mask = torch.tensor(MASKS["holes"], dtype=torch.bool).t() if masked else None
    exact = copy.deepcopy(layer).double()
    exact.backend = "reference"
    with torch.autocast("cpu", torch.bfloat16):
        y, (h_n, c_n) = layer(x, state, mask)
        assert torch.is_autocast_enabled("cpu")
    assert (y.dtype, h_n.dtype, c_n.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    results = [(y, h_n, c_n)]
    y, (h_n, c_n) = exact(x.double(), tuple(part.double() for part in state), mask)
    results.append((y, h_n, c_n))
    for (y, _, c_n), each in zip(results, (layer, exact), strict=True):
        (y.double().sum() + c_n.double().sum()).backward()
        assert all(p.grad is not None for p in each.parameters())
    gradients = [[p.grad for p in each.parameters()] for each in (layer, exact)]
    found, expected = ((*parts, *grads) for parts, grads in zip(results, gradients, strict=True))
    for a, b in zip(found, expected, strict=True):  # measured with five seeds: at most 0.023
        assert error_of(a, b) <= 0.05


# The choice


class Sharper(LSTM):
    def content(self, z):
        return torch.tanh(2 * z["c"])


REJECTED = {
    "ablation": (dict(cell="no-out"), "lstm, no-gates and gru, not for no-out"),
    "coupled": (dict(coupled_gates=True), "not for lstm with coupled gates"),
    "subclass": (dict(cell=Sharper("test-torch-sharper")), "not for test-torch-sharper"),
    "projected": (dict(cell="no-gates", proj_size=2), "a projection for lstm only"),
}


@pytest.mark.parametrize(("options", "reason"), REJECTED.values(), ids=REJECTED)
def test_the_backend_rejects_what_torch_does_not_have(options, reason) -> None:
    with pytest.raises(RuntimeError, match=f"backend 'torch' cannot run this layer: .*{reason}"):
        WsumLSTM(3, 4, backend="torch", **options)(torch.zeros(2, 1, 3))
    WsumLSTM(3, 4, **options)(torch.zeros(2, 1, 3))  # `auto` takes another one


def test_the_backend_rejects_torch_func_and_auto_takes_the_reference(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "why_missing", lambda: "they were never built")
    layer = WsumLSTM(3, 4, backend="torch").requires_grad_(False)
    x = torch.randn(4, 2, 3)
    with pytest.raises(RuntimeError, match=r"it does not support torch\.func"):
        torch.func.jvp(lambda x: layer(x)[0], (x,), (x,))
    layer.backend = "auto"
    each = torch.func.vmap(lambda x: layer(x.unsqueeze(1))[0].squeeze(1), 1, 1)(x)
    layer.backend = "torch"
    assert_same(each, layer(x)[0])


def choice(cell: str, dtype: torch.dtype, device: torch.device = CPU) -> str:
    return recurrence.choose("auto", CELLS[cell], device, dtype).name


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=["fp64", "bf16"])
@pytest.mark.parametrize("bias", [False, True], ids=["no-biases", "biases"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN, nn.GRU], ids=lambda kind: kind.__name__)
def test_a_single_step_on_a_gpu_is_that_of_the_kernels_for_sequences(kind, bias, dtype) -> None:
    function = {"LSTM": "lstm", "RNN": "rnn_tanh", "GRU": "gru"}[kind.__name__]
    weights = [*kind(3, 4, bias=bias, dtype=dtype).parameters()]
    state = [torch.randn(2, 4, dtype=dtype) for _ in range(2 if kind is nn.LSTM else 1)]
    inputs = [torch.randn(1, 2, 3, dtype=dtype), *state, *weights]
    found = []
    for run in (torch_kernels._step, torch_kernels._call):  # `_call` takes sequences on a CPU
        x, *rest = (part.detach().requires_grad_() for part in inputs)
        outputs = run(function, x, tuple(rest[: len(state)]), rest[len(state) :], bias)
        loss = sum((k + 2) * part.square().sum() for k, part in enumerate(outputs))
        found.append([*outputs, *torch.autograd.grad(loss, [x, *rest])])
    close = dict(rtol=0.05, atol=0.02) if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(*found, **close)


@pytest.mark.parametrize("bias", [False, True])
def test_the_array_for_cudnn_has_both_biases(bias) -> None:
    weights = [p.detach() for p in nn.LSTM(3, 4, bias=bias).parameters()]
    pieces = torch_kernels._in_one_piece(weights, bias)
    assert_same(pieces, weights)
    biases = weights[2:] if bias else [torch.zeros(16)] * 2
    flat = torch.cat([part.flatten() for part in (*weights[:2], *biases)])
    assert_same(pieces[0].as_strided(flat.shape, (1,)), flat)
    assert pieces[0].untyped_storage().nbytes() == flat.nbytes  # torch compares the sizes


GPU = torch.device("cuda")
CHOICES = {
    "torch": [(c, d) for c in ("lstm", "no-gates", "gru") for d in (torch.float32, torch.float16)],
    "triton": [(c, torch.bfloat16) for c in ("no-srnn", "no-srnn-hidden", "mingru")],
    "reference": [("lstm", torch.float64), ("no-srnn", torch.float64), ("sru", torch.float32)],
}


@pytest.mark.parametrize("missing", [None, "why_missing", "_why_not_compiled", "_why_not_on_gpu"])
def test_auto_chooses_on_a_gpu_what_torch_has_then_triton_then_the_reference(
    missing, monkeypatch
) -> None:
    """Without Triton it warns, if the user can install what is missing."""
    for name in ("why_missing", "_why_not_compiled", "_why_not_on_gpu"):
        reason = "no compiler" if name == missing else None
        monkeypatch.setattr(triton, name, lambda *_, reason=reason: reason)
    for name, cases in CHOICES.items():
        for cell, dtype in cases:
            if name != "triton" or missing is None:
                with warnings.catch_warnings(action="error"):
                    assert choice(cell, dtype, GPU) == name
            elif missing == "_why_not_on_gpu":
                assert choice(cell, dtype, GPU) == "reference"
            else:
                with pytest.warns(UserWarning, match="slower reference backend: no compiler"):
                    assert choice(cell, dtype, GPU) == "reference"


def test_auto_takes_it_with_a_warning_where_the_kernels_are_missing(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "why_missing", lambda: "they were never built")
    for cell in ("lstm", "no-gates", "gru"):
        for dtype in (torch.float32, torch.bfloat16):
            with pytest.warns(UserWarning, match="slower torch backend: they were never built"):
                assert choice(cell, dtype) == "torch"
    with pytest.warns(UserWarning, match="slower reference backend: they were never built"):
        assert choice("no-srnn", torch.float32) == "reference"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choice("lstm", torch.float64) == "reference"
        assert choice("lstm", torch.float16) == "reference"
    with pytest.raises(RuntimeError, match="they were never built"):
        WsumLSTM(3, 4, backend="cpp")(torch.zeros(2, 1, 3))


def test_compile_takes_the_reference(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "why_missing", lambda: "they were never built")
    torch._dynamo.reset()
    layer = WsumLSTM(3, 4).requires_grad_(False)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    x, mask = torch.randn(2, 2, 3), torch.tensor([[True, False], [False, False]])
    assert_same(compiled(x, None, mask), layer(x, None, mask))
    layer.backend = "torch"
    with pytest.raises(RuntimeError, match=r"torch\.compile does not trace"):
        compiled(x, None, mask)
