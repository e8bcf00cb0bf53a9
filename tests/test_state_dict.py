"""State dicts of layers have the parameters alone, and so go wherever those of torch's LSTM go."""

import copy
import io
import pickle
from itertools import permutations

import torch
from layer_oracle import ALL_CELLS, every_cell

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
