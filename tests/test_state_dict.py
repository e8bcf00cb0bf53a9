"""State dicts of layers have the parameters alone, and so go wherever those of torch's LSTM go."""

import copy
import io
import pickle
from itertools import permutations

import pytest
import torch
from layer_oracle import ALL_CELLS, every_cell
from torch import distributed
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.nn.parallel import DistributedDataParallel

from fairseq_wsum import WsumLSTM
from fairseq_wsum.cells import Cell, get_cell


def make(cell: str | Cell, coupled: bool = False) -> WsumLSTM:
    return WsumLSTM(3, 4, cell=cell, coupled_gates=coupled)


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    expected, found = one.state_dict(), other.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@every_cell
def test_a_state_dict_has_the_parameters_alone(cell, coupled) -> None:
    layer = make(cell, coupled)
    assert list(layer.state_dict()) == [name for name, _ in layer.named_parameters()]
    other = make(cell, coupled)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for clone in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert_same_weights(layer, clone)


@pytest.fixture
def one_process(tmp_path):
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("wrap", [torch.compile, DistributedDataParallel], ids=["compiled", "ddp"])
@pytest.mark.parametrize("from_first", [False, True], ids=["each", "broadcast"])
@pytest.mark.parametrize("cell", ["no-srnn-hidden", "no-srnn", "sru"])
def test_torchs_distributed_checkpoints_load_a_wrapped_layer(
    cell, from_first, wrap, one_process
) -> None:
    layer, other = make(cell), make(cell)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=from_first)
    set_model_state_dict(wrap(other), get_model_state_dict(wrap(layer)), options=options)
    assert_same_weights(layer, other)


def test_an_empty_layer_is_filled_by_assignment() -> None:
    """As large models are loaded: without memory for parameters that are not loaded yet."""
    layer = make("no-srnn")
    with torch.device("meta"):
        empty = make("no-srnn")
    for name, value in layer.state_dict().items():
        setattr(empty, name, torch.nn.Parameter(value))
    assert_same_weights(layer, empty)
    with torch.device("meta"):
        empty = make("no-srnn")
    empty.load_state_dict(layer.state_dict(), assign=True)
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(empty(x)[0], layer(x)[0], rtol=0, atol=0)


def test_docs_name_the_cells_whose_weights_have_the_same_shapes() -> None:
    cells = [get_cell(name, coupled_gates=coupled) for name, coupled in ALL_CELLS]
    shapes = {
        cell.label: {name: value.shape for name, value in make(cell).named_parameters()}
        for cell in cells
    }
    equal = {frozenset((a, b)) for a, b in permutations(shapes, 2) if shapes[a] == shapes[b]}
    coupled = "{} with coupled gates".format
    groups = [
        ("no-srnn-out", coupled("no-srnn")),
        ("no-srnn-out-hidden", coupled("no-srnn-hidden")),
        ("no-out", "gru", coupled("lstm")),
        ("minlstm", "qrnn"),
    ]
    assert equal == {frozenset(pair) for group in groups for pair in permutations(group, 2)}


def test_torch_names_the_weights_of_another_size_or_cell() -> None:
    with pytest.raises(RuntimeError, match="size mismatch for weight_ih_l0"):
        WsumLSTM(5, 16).load_state_dict(torch.nn.LSTM(5, 4).state_dict())
    with pytest.raises(RuntimeError, match=r"Missing key.*weight_hh_l0"):
        make("no-srnn").load_state_dict(make("no-srnn-hidden").state_dict())
