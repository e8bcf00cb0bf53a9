"""The arrays of `fairseq_wsum.weights`: the equations hold between the numbers in the file."""

import zipfile

import numpy
import pytest
import torch
from weights_models import make_text

from fairseq_wsum import WsumLSTM
from fairseq_wsum.weights import trace
from fairseq_wsum.weights.arrays import add_arrays
from fairseq_wsum.weights.sentences import Sentence, View

NAMES = "norms input_gates forget_gates contents cells outputs initial_shares initial_cell"
TOKENS = ("a", "b", "c", "d", "</s>")


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_the_arrays_of_a_direction_satisfy_the_equations(tmp_path, reverse) -> None:
    layer = WsumLSTM(3, 6, bidirectional=True, proj_size=2)
    x, h_0, c_0 = torch.randn(len(TOKENS), 1, 3), torch.randn(2, 1, 2), torch.randn(2, 1, 6)
    with torch.no_grad():
        y, _ = layer(x, (h_0, c_0))
        directions = tuple(trace(layer, x, (h_0, c_0)))
    text = make_text([*TOKENS])
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        add_arrays(file, 0, Sentence((View("encoder", 1, text, directions),), text, text, None))
    place = f"0/encoder/1/{'backward' if reverse else 'forward'}/"
    with numpy.load(tmp_path / "a.npz") as arrays:
        one = {name.removeprefix(place): arrays[name] for name in arrays if place in name}

    def same(name, expected):
        numpy.testing.assert_allclose(one[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)

    assert [*one] == NAMES.split()
    same("initial_cell", c_0[int(reverse), 0])
    same("outputs", y[:, 0, 2:] if reverse else y[:, 0, :2])
    i, f, g = (one[name] for name in ("input_gates", "forget_gates", "contents"))
    steps = range(len(TOKENS))
    c, share, weights = one["initial_cell"], numpy.ones(6), numpy.zeros_like(i)
    cells, shares, norms = numpy.zeros_like(i), numpy.zeros_like(i), numpy.zeros((5, 5))
    for t in reversed(steps) if reverse else steps:
        c = cells[t] = i[t] * g[t] + f[t] * c
        share = shares[t] = f[t] * share
        weights *= f[t]
        weights[t] = i[t]
        norms[t] = numpy.linalg.norm(weights, axis=1)
    same("cells", cells)
    same("initial_shares", shares)
    same("norms", norms)
