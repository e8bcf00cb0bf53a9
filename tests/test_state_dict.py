"""Which cells have weights of the same names and shapes, and so load each other's."""

from itertools import permutations

from layer_oracle import ALL_CELLS

from fairseq_wsum import WsumLSTM
from fairseq_wsum.cells import get_cell


def test_the_cells_whose_weights_have_the_same_shapes() -> None:
    cells = [get_cell(name, coupled_gates=coupled) for name, coupled in ALL_CELLS]
    shapes = {
        cell.label: {
            name: value.shape for name, value in WsumLSTM(3, 4, cell=cell).named_parameters()
        }
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
