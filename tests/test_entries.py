"""The entries of a state dict that identify the cell and the dictionary of its weights."""

import copy
import io
import pickle
from itertools import permutations

import numpy
import pytest
import torch
from layer_oracle import ALL_CELLS, every_cell
from torch.nn.utils import prune

from fairseq_wsum import WsumLSTM
from fairseq_wsum.cells import GRU, Cell, get_cell

ALL = [get_cell(name, coupled_gates=coupled) for name, coupled in ALL_CELLS]


def make(cell: Cell) -> WsumLSTM:
    return WsumLSTM(3, 4, cell=cell)


def shapes(cell: Cell) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in make(cell).named_parameters()}


EQUAL = [(a, b) for a, b in permutations(ALL, 2) if shapes(a) == shapes(b)]
NAMED = [(a, b) for a, b in EQUAL if a.twin is None]  # torch's weights do not name their cell


def test_some_cells_have_weights_of_the_same_shapes() -> None:
    names = {(a.label, b.label) for a, b in EQUAL}
    assert ("no-out", "lstm with coupled gates") in names
    assert ("no-srnn-out", "no-srnn with coupled gates") in names


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "not-strict"])
@pytest.mark.parametrize(("cell", "other"), NAMED, ids=lambda cell: cell.label.replace(" ", "-"))
def test_another_cell_rejects_weights_of_the_same_shapes(cell, other, strict) -> None:
    layer = make(other)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    named = f"has the cell {other.label}, and the weights are of {cell.label}: create"
    with pytest.raises(RuntimeError, match=named):
        layer.load_state_dict(make(cell).state_dict(), strict=strict)
    after = layer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_torch_names_the_weights_of_another_size() -> None:
    with pytest.raises(RuntimeError, match="size mismatch for weight_ih_l0"):
        WsumLSTM(5, 16).load_state_dict(torch.nn.LSTM(5, 4).state_dict())


def test_torchs_distributed_checkpoints_read_the_state_of_a_model() -> None:
    from torch.distributed.checkpoint.state_dict import get_model_state_dict

    model = make(get_cell("no-srnn"))
    assert get_model_state_dict(model).keys() == model.state_dict().keys()


@pytest.mark.parametrize("cell", ["gru", "lstm", "no-gates"])
@pytest.mark.parametrize("other", ["gru", "lstm", "no-gates", "mingru", "qrnn"])
def test_torchs_weights_are_rejected_by_another_cell(cell, other) -> None:
    weights = make(get_cell(cell)).state_dict()
    if cell == other:
        make(get_cell(other)).load_state_dict(weights)
        return
    rows = [len(get_cell(name).rows) for name in (cell, other)]
    named = f"has the cell {other}, and the weights are of {cell}: create"
    with pytest.raises(RuntimeError, match=named if rows[0] != rows[1] else "Missing key"):
        make(get_cell(other)).load_state_dict(weights)


@every_cell
def test_the_same_cell_accepts_the_weights(cell, coupled) -> None:
    layer, other = (make(get_cell(cell, coupled_gates=coupled)) for _ in range(2))
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for clone in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert clone.state_dict().keys() == layer.state_dict().keys()
        for name, value in layer.state_dict().items():
            assert torch.equal(clone.state_dict()[name], value)


@every_cell
def test_only_torchs_weights_load_without_a_cell_name(cell, coupled) -> None:
    """The weights of torch's modules need no cell name; others load with strict=False only."""
    cell = get_cell(cell, coupled_gates=coupled)
    layer = make(cell)
    weights = dict(layer.named_parameters())
    assert ("cell" in layer.state_dict()) == (cell.twin is None)
    if cell.twin:
        layer.load_state_dict(weights)
    else:
        with pytest.raises(RuntimeError, match=r'Missing key.*: "cell"'):
            layer.load_state_dict(weights)
    missing = [] if cell.twin else ["cell"]
    assert layer.load_state_dict(weights, strict=False).missing_keys == missing


def test_the_entry_is_in_the_state_dict_of_a_whole_model() -> None:
    model = torch.nn.ModuleDict({"encoder": make(get_cell("no-out"))})
    other = torch.nn.ModuleDict({"encoder": make(get_cell("lstm", coupled_gates=True))})
    assert "encoder.cell" in model.state_dict()
    model.load_state_dict(model.state_dict())
    with pytest.raises(RuntimeError, match="encoder has the cell lstm with coupled gates"):
        other.load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    "changed",
    {
        "half": lambda entries: entries[0].half(),
        "bfloat16": lambda entries: entries[0].bfloat16(),
        "mean": lambda entries: sum(entries) / len(entries),
        "ema": lambda entries: entries[0].clone().mul_(0.999).add_(entries[1], alpha=0.001),
        "older": lambda entries: entries[0].byte(),  # what checkpoints had at first
    }.items(),
    ids=lambda item: item[0],
)
def test_the_entry_survives_what_programs_do_with_weights(changed) -> None:
    layers = [make(get_cell("no-srnn-hidden")) for _ in range(3)]
    weights = layers[0].state_dict()
    weights["cell"] = changed[1]([layer.state_dict()["cell"] for layer in layers])
    layers[0].load_state_dict(weights)
    with pytest.raises(RuntimeError, match="the weights are of no-srnn-hidden: create"):
        make(get_cell("no-srnn")).load_state_dict(weights, strict=False)


def test_a_subclass_of_torchs_cells_is_another_cell() -> None:
    class Sharper(GRU):
        pass

    weights = make(Sharper("sharper")).state_dict()
    assert "cell" in weights
    with pytest.raises(RuntimeError, match="the weights are of sharper"):
        make(get_cell("gru")).load_state_dict(weights, strict=False)


def test_a_pruned_layer_reports_keys_that_do_not_fit() -> None:
    layer = make(get_cell("lstm"))
    weights = layer.state_dict()
    prune.l1_unstructured(layer, "weight_ih_l0", 0.3)
    found = layer.load_state_dict(weights, strict=False)
    assert found.unexpected_keys == ["weight_ih_l0"]


def test_the_entry_is_on_the_cpu_whatever_the_default_device_is() -> None:
    layer = make(get_cell("no-srnn"))
    with torch.device("meta"):
        weights = layer.state_dict()
    make(get_cell("no-srnn")).load_state_dict(weights, assign=True)


def test_an_entry_without_values_is_not_compared() -> None:
    """As with `torch.load(file, map_location="meta")`, to see the names and shapes alone."""
    layer = make(get_cell("no-srnn"))
    without = {key: value.to("meta") for key, value in layer.state_dict().items()}
    make(get_cell("no-srnn")).load_state_dict(without, assign=True)


@pytest.mark.parametrize("entry", [numpy.zeros(3), "lstm"], ids=["array", "text"])
def test_an_entry_that_is_no_tensor_is_an_error_like_torchs(entry) -> None:
    layer = make(get_cell("no-srnn"))
    state = layer.state_dict() | {"cell": entry}
    with pytest.raises(RuntimeError, match=r'"cell" must be a torch\.Tensor, got <class'):
        layer.load_state_dict(state)


def test_an_entry_without_dimensions_is_another_cell() -> None:
    layer = make(get_cell("no-srnn"))
    with pytest.raises(RuntimeError, match="has the cell no-srnn, and the weights are of A"):
        layer.load_state_dict(layer.state_dict() | {"cell": torch.tensor(65.0)})
