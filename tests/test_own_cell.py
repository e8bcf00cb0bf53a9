"""Custom cells: the example, and two that need features that no cell of the package uses."""

import copy
import pickle
import re
import sys

import pytest
import torch
from layer_oracle import assert_same, padded_batch
from torch import nn

from fairseq_wsum import Cell, WsumLSTM, register_cell
from fairseq_wsum.cells import CELLS, LSTM, get_cell, registry

COMMON = {"dtype": torch.float64}


class GRU(Cell):
    """`torch.nn.GRU`: a bias within its content, and gates that see h_{t-1}."""

    name = "test-gru"
    rows = hidden_rows = ("r", "z", "n")
    inner_bias_rows = ("n",)

    def preactivations(self, x, h, c, v):
        r, z = (torch.sigmoid(x[row] + h[row]) for row in "rz")
        return {"z": z, "n": x["n"] + r * h["n"]}

    def content(self, z):
        return torch.tanh(z["n"])

    def gates(self, z):
        return 1 - z["z"], z["z"]

    def output(self, z, c):
        return c


class SRU(Cell):
    """Lei et al. (2018): gates that see c_{t-1}, element by element, through two vectors."""

    name = "test-sru"
    rows = ("g", "f", "r", "x")
    vectors = ("v_f", "v_r")
    sees_memory = True

    @property
    def bias_rows(self):
        return ("f", "r")

    def preactivations(self, x, h, c, v):
        return {**x, "f": x["f"] + v["v_f"] * c, "r": x["r"] + v["v_r"] * c}

    def content(self, z):
        return z["g"]

    def gates(self, z):
        f = torch.sigmoid(z["f"])
        return 1 - f, f

    def output(self, z, c):
        r = torch.sigmoid(z["r"])
        return r * c + (1 - r) * z["x"]


def sru(layer: WsumLSTM, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """One sequence, T x I -> T x H, by the equations of the paper."""
    w_g, w_f, w_r, w_x = layer.weight_ih_l0.chunk(4)
    b_f, b_r = layer.bias_ih_l0.chunk(2)
    outputs = []
    for x_t in x:
        f = torch.sigmoid(w_f @ x_t + layer.v_f_l0 * c + b_f)
        r = torch.sigmoid(w_r @ x_t + layer.v_r_l0 * c + b_r)
        c = f * c + (1 - f) * (w_g @ x_t)
        outputs.append(r * c + (1 - r) * (w_x @ x_t))
    return torch.stack(outputs)


def test_a_gru_can_be_described_and_equals_torchs() -> None:
    ours, theirs = WsumLSTM(3, 4, cell=GRU(), **COMMON), nn.GRU(3, 4, **COMMON)
    theirs.load_state_dict(dict(ours.named_parameters()))
    x, h_0 = torch.randn(6, 2, 3, **COMMON), torch.randn(1, 2, 4, **COMMON)
    y, (h_n, c_n) = ours(x, (h_0, h_0))
    expected, last = theirs(x, h_0)
    assert_same(y, expected)
    assert_same(h_n, last)
    assert_same(c_n, last)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_cell_that_reads_its_memory_equals_the_papers(side) -> None:
    layer = WsumLSTM(3, 4, cell=SRU(), **COMMON)
    x, mask, alone = padded_batch([5, 2, 7], side)
    c_0 = torch.randn(1, 3, 4, **COMMON)
    y, _ = layer(x, (torch.zeros_like(c_0), c_0), mask)
    for k, sequence in enumerate(alone):
        assert_same(y[~mask[:, k], k], sru(layer, sequence, c_0[0, k]))
    backwards = WsumLSTM(3, 4, cell=SRU(), bidirectional=True, **COMMON)
    assert backwards(x, None, mask)[0].shape == (7, 3, 8)
    inputs = torch.randn(3, 1, 3, **COMMON).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x)[0], inputs)


def test_a_backend_reports_that_it_has_no_kernel_for_the_cell() -> None:
    class Sharper(LSTM):
        def content(self, z):
            return torch.tanh(2 * z["c"])

    for cell in (GRU(), Sharper("test-sharper")):
        with pytest.raises(RuntimeError, match=f"not for {cell.name}"):
            WsumLSTM(3, 4, cell=cell, backend="cpp")(torch.zeros(2, 1, 3))
        WsumLSTM(3, 4, cell=cell)(torch.zeros(2, 1, 3))  # `auto` takes the reference


class Nameless(Cell):
    rows = ("a",)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (dict(name="Mine"), "its name must be lower-case"),
        (dict(name="lstm"), "the name is that of a cell of this package"),
        (dict(name="mine", rows=()), "its rows must be different letters"),
        (dict(name="mine", rows=("a", "a")), "its rows must be different letters"),
        (dict(name="mine", hidden_rows=("b",)), r"hidden_rows \('b',\) must be some of"),
        (dict(name="mine", has_memory=False), "nothing links two time steps"),
        (dict(name="mine", hidden_is_memory=True), "set can_project = False"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_contradictory_description_is_rejected(attributes, message) -> None:
    cell = Nameless()
    vars(cell).update(attributes)
    with pytest.raises(ValueError, match=message):
        register_cell(cell)
    assert not isinstance(CELLS.get(getattr(cell, "name", "")), Nameless)


def test_a_class_is_rejected_as_a_cell() -> None:
    with pytest.raises(TypeError, match="register_cell takes an instance"):
        register_cell(GRU)


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
    with pytest.raises(ValueError, match="'own-mingru' has no forget gate to couple"):
        get_cell("own-mingru", coupled_gates=True)


@pytest.mark.parametrize("arch", ["wsum_lstm", "wsum_lstm_multi30k"])
def test_the_example_trains_resumes_and_translates(example, arch, prepared, tmp_path) -> None:
    from commands import USER_DIR, run, train
    from translation_corpus import TINY

    sizes = TINY.split() if arch == "wsum_lstm" else ["--optimizer", "adam", "--lr", "0.01"]
    options = ["--user-dir", example, "--arch", arch, "--cell", "own-mingru", *sizes]
    train(prepared, tmp_path, *options, "--max-epoch", 1, "--batch-size", 30)
    output = train(prepared, tmp_path, *options, "--max-epoch", 2, "--batch-size", 30)
    assert "begin training epoch 2" in output
    checkpoint = tmp_path / "checkpoint_last.pt"
    given = ["--path", checkpoint, "--cpu", "--beam", 2, "--max-len-b", 5]
    given += ["--required-batch-size-multiple", 1]
    output = run("fairseq-generate", prepared, "--user-dir", example, *given)
    assert len(re.findall(r"^H-", output, re.M)) == 7
    without = ["--user-dir", USER_DIR, *given]
    output = run("fairseq-generate", prepared, *without, check=False)
    assert "--cell own-mingru: choose one of lstm" in output
