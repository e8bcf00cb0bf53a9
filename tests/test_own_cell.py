"""Custom cells, also with features that no cell of the package uses; a custom backend."""

import copy
import pickle
import re
import sys

import pytest
import torch
from cpp_oracle import needs_kernels
from layer_oracle import assert_same, padded_batch
from own_cells import Decaying, Scaled
from torch import nn

from fairseq_wsum import Cell, WsumLSTM, recurrence, register_cell
from fairseq_wsum.cells import CELLS, get_cell, registry
from fairseq_wsum.recurrence import Backend, reference
from fairseq_wsum.weights import reconstruction_error, trace

COMMON = {"dtype": torch.float64}


class Fitted(Scaled):
    """Where input and output differ in size, the gate sees h_{t-1} and is not scaled."""

    name = "test-fitted"

    def __init__(self, differ=False):
        if differ:
            self.hidden_rows, self.vectors = ("i",), ()

    def fit(self, features, units):
        return Fitted(features != units)

    def preactivations(self, x, h, c, v):
        plain = Cell.preactivations(self, x, h, c, v)
        return super().preactivations(plain, h, c, v) if v else plain


def scaled(layer: WsumLSTM, x: torch.Tensor, k: int = 0) -> torch.Tensor:
    """Layer k of either cell by its equations, T x B x I -> T x B x H."""
    p = {name.removesuffix(f"_l{k}"): values for name, values in layer.named_parameters()}
    steps, c = [], torch.zeros(*x.shape[1:2], layer.hidden_size, **COMMON)
    for x_t in x:
        z, g = (x_t @ p["weight_ih"].T + p["bias_ih"]).chunk(2, -1)
        z = z + c @ p["weight_hh"].T + p["bias_hh"] if "weight_hh" in p else z * p["scale"]
        c = torch.sigmoid(z) * g + torch.sigmoid(-z) * c
        steps.append(c)
    return torch.stack(steps)


@pytest.mark.parametrize("backend", ["reference", pytest.param("cpp", marks=needs_kernels)])
def test_a_gated_sum_may_change_its_pre_activations(backend) -> None:
    layer, x = WsumLSTM(3, 4, cell=Scaled(), **COMMON), torch.randn(5, 2, 3, **COMMON)
    expected = scaled(layer, x)
    wanted = torch.autograd.grad(expected.sum(), layer.scale_l0)
    layer, x, layer.backend = layer.float(), x.float(), backend
    near = dict(rtol=1e-4, atol=1e-5, check_dtype=False)
    y, _ = layer(x)
    assert_same(y, expected, **near)
    assert_same(torch.autograd.grad(y.sum(), layer.scale_l0), wanted, **near)
    assert_same(trace(layer, x)[0].cells, expected, **near)


class DecayingRNN(Decaying):
    """The same with a content that sees h_{t-1}, so that it runs step by step."""

    hidden_rows = ("g",)


@pytest.mark.parametrize("side", [None, "left", "right"], ids=lambda side: f"pad-{side}")
@pytest.mark.parametrize("backend", ["reference", pytest.param("cpp", marks=needs_kernels)])
def test_a_gate_may_be_a_vector(backend, side) -> None:
    layer = WsumLSTM(3, 4, cell=Decaying(), backend=backend)
    x, mask, alone = padded_batch([4, 2, 3], side or "right")  # as many steps as units
    x, mask = (x.float(), mask) if side else (x[:, :1].float(), None)
    y, _ = layer(x, None, mask)
    d = layer.decay_l0.sigmoid()
    for k, sequence in enumerate(alone[: x.size(1)]):
        c, steps = torch.zeros(4), []
        for content in sequence.float() @ layer.weight_ih_l0.T:
            c = d * c + (1 - d) * content
            steps.append(c)
        found = y[:, k] if mask is None else y[~mask[:, k], k]
        assert_same(found, torch.stack(steps), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", [Decaying(), DecayingRNN()], ids=["gated-sum", "recurrent"])
def test_a_decay_near_one_and_its_gradient_survive_16_bits(cell) -> None:
    """sigmoid(8) is 0.99966; in bfloat16 the next number below 1 is 0.996."""
    exact, layer = (WsumLSTM(1, 1, cell=cell, dtype=t) for t in (torch.float64, torch.bfloat16))
    with torch.no_grad():
        for name, parameter in exact.named_parameters():
            parameter.fill_({"decay_l0": 8.0, "weight_ih_l0": 1.0}.get(name, 0.0))
    layer.load_state_dict(exact.state_dict())
    results = []
    for each in (layer, exact):
        x = torch.ones(1000, 1, 1, dtype=each.weight_ih_l0.dtype)
        zero = x.new_zeros(1, 1, 1)
        _, (_, c_n) = each(x, (zero, zero.float() if each is layer else zero))
        (gradient,) = torch.autograd.grad(c_n.sum(), each.decay_l0)
        results.append((c_n.double(), gradient.double()))
    assert_same(*results, rtol=0.01, atol=0)
    state = (layer(x[:1].bfloat16())[1][0] * 0, torch.ones(1, 1, 1))
    with torch.no_grad():  # one step, as in decoding
        _, (_, c_n) = layer.eval()(torch.zeros(1, 1, 1, dtype=torch.bfloat16), state)
    assert c_n.item() == pytest.approx(torch.tensor(8.0).sigmoid().item(), rel=1e-6)


def test_the_layers_of_a_stack_may_have_different_forms_of_a_cell() -> None:
    layer = WsumLSTM(3, 4, 2, cell=Fitted(), **COMMON)
    shapes = {"scale_l1": (4,), "weight_hh_l0": (4, 4), "bias_hh_l0": (4,)}
    for name in ("scale_l0", "scale_l1", "weight_hh_l0", "weight_hh_l1", "bias_hh_l0"):
        assert (name in shapes) == hasattr(layer, name)
    x = torch.randn(5, 2, 3, **COMMON)
    expected = scaled(layer, scaled(layer, x), 1)
    y, state = layer(x)
    assert_same(y, expected)
    assert_same(layer.float()(x.float())[0], expected, rtol=1e-4, atol=1e-5, check_dtype=False)
    with torch.no_grad():  # one step
        assert_same(layer.double()(x[:1], [torch.zeros_like(part) for part in state])[0], y[:1])
    layer.backend = "cpp"
    with pytest.raises(RuntimeError, match="not for test-fitted"):
        layer.float()(x.float())


class Skipping(Scaled):
    name = "test-skipping"
    rows = ("i", "g", "s")
    skip_rows = ("s",)


def test_an_input_of_another_size_cannot_be_a_row() -> None:
    for size in (3, 5, 8):
        with pytest.raises(ValueError, match=f"`skip` returned {size} features for skip_rows"):
            WsumLSTM(size, 4, cell=Skipping())(torch.zeros(2, 1, size))
    WsumLSTM(4, 4, cell=Skipping())(torch.zeros(2, 1, 4))


class Nameless(Cell):
    rows = ("a",)
    can_project = True

    def content(self, z):
        return z["a"]

    def gates(self, z):
        return torch.sigmoid(z["a"]), torch.tensor(0.5)

    def output(self, z, c):
        return c


CONTRADICTIONS = [
    (dict(name="Mine"), "its name must consist of lower-case"),
    (dict(name="lstm"), "the name is that of a cell of this package"),
    (dict(rows=()), "its rows must be different letters"),
    (dict(rows=("a", "a")), "its rows must be different letters"),
    (dict(rows=("a", "b"), skip_rows=("a",)), "those with a matrix first"),
    (dict(skip_rows=("a",)), "those with a matrix first"),
    (dict(hidden_rows=("b",)), r"hidden_rows \('b',\) must be some of"),
    (dict(rows=("a", "b"), bias_rows=("b", "a")), r"must be some of \('a', 'b'\), in that order"),
    (dict(has_memory=False), "it has neither a memory nor hidden_rows"),
    (dict(window=3), "its window must be 1 or 2, got 3"),
    (
        dict(rows=("a", "b"), hidden_rows=("a",), inner_bias_rows=("b",)),
        r"inner_bias_rows \('b',\) must be some of \('a',\), in that order",
    ),
    (
        dict(rows=("a", "b"), hidden_rows=("b",), skip_rows=("b",)),
        "its row 'b' has no matrix W_\\*x, to whose bias that of W_\\*h could be added",
    ),
]


@pytest.mark.parametrize(("attributes", "message"), CONTRADICTIONS)
def test_a_contradictory_description_is_rejected(attributes, message) -> None:
    cell = type("Contradictory", (Nameless,), {"name": "mine", **attributes})()
    with pytest.raises(ValueError, match=message):
        register_cell(cell)
    assert not isinstance(CELLS.get(cell.name), Nameless)


def test_a_gate_may_be_a_constant() -> None:
    cell = type("Constant", (Nameless,), dict(name="constant"))()
    layer, x = WsumLSTM(3, 4, cell=cell), torch.randn(5, 2, 3)
    (found,) = trace(layer, x)
    assert_same(found.forget_gates, torch.full((5, 2, 4), 0.5))
    assert reconstruction_error(found).outputs < 1e-6
    c = torch.zeros(2, 4)
    for step, (y_t, x_t) in enumerate(zip(layer(x)[0], x, strict=True)):
        z = x_t @ layer.weight_ih_l0.T + layer.bias_ih_l0
        c = torch.sigmoid(z) * z + 0.5 * c
        assert_same(y_t, c, msg=f"step {step}")


def test_a_class_is_rejected_as_a_cell() -> None:
    for take in (register_cell, get_cell, lambda cell: WsumLSTM(3, 4, cell=cell)):
        with pytest.raises(TypeError, match=r"must be an instance of a subclass of Cell, got <cl"):
            take(Scaled)


def test_a_backend_of_your_own_runs_the_layers_that_name_it(monkeypatch) -> None:
    ran = []

    def run(given):
        ran.append(given.cell.name)
        return reference.run(given)

    def why_not(cell, device, dtype, projects):
        return "it computes gated sums" if cell.has_recurrent_matrix else None

    monkeypatch.setitem(recurrence.BACKENDS, "mine", Backend("mine", run, why_not))
    x = torch.randn(5, 2, 3)
    for cell in ("lstm", "no-srnn-hidden", "sru"):
        WsumLSTM(3, 4, cell=cell)(x)
    assert ran == []  # `auto` never takes it
    layer = WsumLSTM(3, 4, cell="no-srnn-hidden", backend="mine")
    y, _ = layer(x)
    assert ran == ["no-srnn-hidden"]
    layer.backend = "reference"
    assert torch.equal(layer(x)[0], y)
    with pytest.raises(RuntimeError, match="'mine' cannot run this layer: it computes gated sums"):
        WsumLSTM(3, 4, backend="mine")(x)


@pytest.fixture
def example(monkeypatch):
    pytest.importorskip("fairseq")
    from commands import ROOT

    folder = ROOT / "examples" / "own_cell"
    monkeypatch.syspath_prepend(folder.parent)
    import own_cell

    yield folder
    del sys.modules["own_cell"]
    assert isinstance(registry._cells.pop("own-mingru"), own_cell.MinGRU)


def test_the_example_is_short_and_its_layer_equals_the_min_gru(example) -> None:
    program = (example / "__init__.py").read_text()
    assert len(program.splitlines()) <= 35
    assert program in (example.parents[1] / "docs" / "development.md").read_text()
    layer = WsumLSTM(3, 4, cell="own-mingru", **COMMON)
    assert [name for name, _ in layer.named_parameters()] == ["weight_ih_l0", "bias_ih_l0"]
    x, h = torch.randn(6, 2, 3, **COMMON), torch.randn(2, 4, **COMMON)
    y, _ = layer(x, (h[None], h[None]))
    for t in range(6):
        z, g = nn.functional.linear(x[t], layer.weight_ih_l0, layer.bias_ih_l0).chunk(2, dim=-1)
        z = torch.sigmoid(z)
        h = (1 - z) * h + z * g
        assert_same(y[t], h)
    for clone in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert_same(clone(x)[0], layer(x)[0])


def test_the_example_trains_resumes_and_translates(example, prepared, tmp_path) -> None:
    from commands import run, train
    from translation_corpus import TINY

    options = [*TINY.replace("wsum_lstm", "wsum_lstm_multi30k").split(), "--cell", "own-mingru"]
    options += ["--user-dir", example]
    train(prepared, tmp_path, *options, "--max-epoch", 1)
    output = train(prepared, tmp_path, *options, "--max-epoch", 2)
    assert "begin training epoch 2" in output
    checkpoint = tmp_path / "checkpoint_last.pt"
    given = ["--path", checkpoint, "--cpu", "--beam", 2, "--max-len-b", 5]
    given += ["--required-batch-size-multiple", 1]
    output = run("fairseq-generate", prepared, "--user-dir", example, *given)
    assert len(re.findall(r"^H-", output, re.M)) == 7
