"""The tables and arrays of `fairseq_wsum.weights`, against numbers worked out by hand."""

import math
import zipfile
from dataclasses import replace

import numpy
import pytest
import torch

from fairseq_wsum import WsumLSTM
from fairseq_wsum.cells import CELLS
from fairseq_wsum.weights import half_lives, trace
from fairseq_wsum.weights.arrays import add_arrays
from fairseq_wsum.weights.sentences import Sentence, Text, View
from fairseq_wsum.weights.tables import Tables
from fairseq_wsum.weights.trace import Trace

SPLIT = Text(("a", "b@@", "c", "</s>"), ("a", "bc", "</s>"), (0, 1, 1, 2))


def words(*tokens: str) -> Text:
    return Text(tokens, tokens, tuple(range(len(tokens))))


def gates(i: list[float], f: list[float], reverse: bool = False) -> Trace:
    """A trace of one unit whose contents are all one."""
    steps = range(len(i))
    c, cells = 0.0, {}
    for t in reversed(steps) if reverse else steps:
        c = cells[t] = i[t] + f[t] * c
    i_t, f_t, c_t = (
        torch.tensor(part).reshape(-1, 1, 1) for part in (i, f, [cells[t] for t in steps])
    )
    zero = torch.zeros(1, 1)
    return Trace(
        cell=CELLS["no-srnn-hidden"],
        layer=0,
        reverse=reverse,
        preactivations={},
        contents=torch.ones_like(i_t),
        input_gates=i_t,
        forget_gates=f_t,
        cells=c_t,
        outputs=c_t,
        c_0=zero,
        c_n=torch.full((1, 1), c),
        w_hr=None,
        padding_mask=None,
    )


def reads(text: Text, *directions: Trace) -> Sentence:
    return Sentence((View("encoder", 1, text, directions),), text, text, None)


def table(folder, name: str) -> dict[tuple[str, ...], dict[str, str]]:
    """The rows of a table by direction and by the column after it."""
    lines = (folder / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    header, *rows = (line.split("\t") for line in lines)
    assert all(len(row) == len(header) for row in rows)
    return {(row[2], row[3]): dict(zip(header, row, strict=True)) for row in rows}


def life(row: dict[str, str]) -> list[float]:
    names = "occurrences lifetime censored kept_1 kept_1_of kept_2 kept_2_of"
    return [float(row[name]) for name in names.split()]


@pytest.fixture
def two(tmp_path):
    """The folder with the tables of two sentences; their words have tags."""
    one = [1.0] * 4
    tables = Tables({}, share=0.5)
    # norms after 1, 2, 3 steps: a .8, .64, .256; bc, which is complete at its second token, .4
    forward = gates(one, [0.9, 0.8, 0.8, 0.4])
    # </s> .3; bc, which is complete at its first token, .8
    backward = gates(one, [0.8, 0.9, 0.3, 0.9], reverse=True)
    tables.add(reads(SPLIT, forward, backward), ["X", "Y"])
    short = gates([1.0, 1.0], [0.9, 0.6]), gates([1.0, 1.0], [0.2, 0.9], reverse=True)
    tables.add(reads(words("a", "</s>"), *short), ["X"])
    tables.write(tmp_path / "new" / "tables")
    return tmp_path / "new" / "tables"


def test_lifetimes_of_words_are_those_worked_out_by_hand(two) -> None:
    found = table(two, "words")
    assert list(found)[:3] == [("forward", "</s>"), ("forward", "a"), ("forward", "bc")]
    # a lives for 2 steps in the first sentence, and for at least 1, its last step, in the second
    assert life(found["forward", "a"]) == pytest.approx([2, 1.5, 0.5, 0.7, 2, 0.64, 1])
    bc = [1, 0, 0, 0.4, 1, math.nan, 0]
    assert life(found["forward", "bc"]) == pytest.approx(bc, nan_ok=True)
    end = [2, 0, 1, math.nan, 0, math.nan, 0]
    assert life(found["forward", "</s>"]) == pytest.approx(end, nan_ok=True)
    assert life(found["backward", "</s>"]) == pytest.approx([2, 0, 0, 0.25, 2, 0.27, 1])
    bc = [1, 1, 1, 0.8, 1, math.nan, 0]
    assert life(found["backward", "bc"]) == pytest.approx(bc, nan_ok=True)
    assert life(found["backward", "a"]) == pytest.approx(end, nan_ok=True)


def test_words_with_the_same_tag_share_a_row(two) -> None:
    lives, tags = table(two, "words"), table(two, "tags")
    assert {tag for _, tag in tags} == {"X", "Y"}
    for direction in ("forward", "backward"):
        for tag, word in (("X", "a"), ("Y", "bc")):
            found, expected = life(tags[direction, tag]), life(lives[direction, word])
            assert found == pytest.approx(expected, nan_ok=True)


def test_units_are_described_over_all_steps(two) -> None:
    row = table(two, "units")["forward", "0"]
    f = torch.tensor([0.9, 0.8, 0.8, 0.4, 0.9, 0.6])
    assert float(row["forget_gate"]) == pytest.approx(float(f.mean()), rel=1e-4)
    assert float(row["input_gate"]) == 1
    assert float(row["half_life"]) == pytest.approx(float(half_lives(f[:, None])), rel=1e-4)
    # c_t: 1, 1.8, 2.44, 1.976; 1, 1.6
    expected = numpy.corrcoef([1, 1.8, 2.44, 1.976, 1, 1.6], [1, 2, 3, 4, 1, 2])[0, 1]
    assert float(row["position_correlation"]) == pytest.approx(expected, rel=1e-4)
    assert row["opens_1"] == ""  # no word occurs five times


@pytest.mark.parametrize("reverse", [False, True])
def test_a_unit_that_counts_is_found(tmp_path, reverse) -> None:
    tables = Tables({})
    for size in (3, 7):
        text = words(*"abcdefg"[:size])
        tables.add(reads(text, gates([1.0] * size, [1.0] * size, reverse)))
    tables.write(tmp_path)
    (row,) = table(tmp_path, "units").values()
    assert (row["position_correlation"], row["half_life"]) == ("1", "inf")
    (row,) = table(tmp_path, "half_lives").values()
    assert [row[name] for name in ("units", "q05", "q50", "q95")] == ["1", "inf", "inf", "inf"]


def test_quantiles_are_those_of_the_half_lives_of_all_units(tmp_path) -> None:
    one = gates([1.0] * 3, [1.0] * 3)
    wide = {
        name: getattr(one, name).expand(3, 1, 5)
        for name in ("contents", "input_gates", "forget_gates", "cells", "outputs")
    }
    half_lives = torch.tensor([4.0, 1.0, 16.0, 2.0, 8.0])
    wide["forget_gates"] = wide["forget_gates"] * 0.5 ** (1 / half_lives)
    tables = Tables({})
    tables.add(reads(words("a", "b", "c"), replace(one, **wide)))
    tables.write(tmp_path)
    (row,) = table(tmp_path, "half_lives").values()
    found = [row[name] for name in ("units", "q05", "q25", "q50", "q75", "q95")]
    assert found == ["5", "1", "2", "4", "8", "16"]


def test_a_constant_memory_cell_has_no_correlation(tmp_path) -> None:
    tables = Tables({})
    tables.add(reads(words("a", "b", "c"), gates([0.1] * 3, [0.0] * 3)))
    tables.write(tmp_path)
    (row,) = table(tmp_path, "units").values()
    assert row["position_correlation"] == "nan"


def test_an_input_gate_opens_for_the_words_with_the_highest_mean(tmp_path) -> None:
    tables = Tables({})
    for k in range(5):
        i = [0.25, 0.9, 0.125 * k, 1.0]  # c: 0.25 on average, as a; d is rare
        text = words("a", "b", "c", "d" if k == 0 else f"d{k}")
        tables.add(reads(text, gates(i, [0.5] * 4)))
    tables.write(tmp_path)
    (row,) = table(tmp_path, "units").values()
    assert [row[f"opens_{k}"] for k in range(1, 6)] == ["b", "a", "c", "", ""]


def test_deciles_follow_the_frequencies_of_the_training_text(tmp_path) -> None:
    letters = [*"abcdefghij", "</s>"]
    counts = {letter: 100 - k for k, letter in enumerate(letters[:9])}  # j is unknown
    for given in (counts, None):
        tables = Tables({"encoder": given})
        tables.add(reads(words(*letters), gates([1.0] * 11, [0.1] * 11)))
        folder = tmp_path / str(given is None)
        tables.write(folder)
        rows = list(table(folder, "frequency").values())
        columns = ("decile", "rarest", "most_frequent", "types", "occurrences")
        found = [[int(row[name]) for name in columns] for row in rows]
        if given is None:  # all words occur once
            assert found == [[6, 1, 1, 10, 10]]
        else:
            known = [[k + 1, 100 - k, 100 - k, 1, 1] for k in range(9)]
            assert found == [*known, [10, 0, 0, 1, 1]]


@pytest.mark.parametrize("tags", [["X"], ["X", "Y", "."]])
def test_a_wrong_number_of_tags_is_rejected(tags) -> None:
    tables = Tables({})
    one = gates([1.0] * 4, [0.5] * 4)
    tables.add(reads(SPLIT, one), ["X", "Y"])
    message = rf"sentence 2 has {len(tags)} tags; give one for each of the 2 words .*: a bc"
    with pytest.raises(ValueError, match=message):
        tables.add(reads(SPLIT, one), tags)


def test_tags_belong_to_the_words_that_were_given(tmp_path) -> None:
    read, predicted = words("</s>", "a", "b"), words("a", "b", "</s>")
    decoder = View("decoder", 1, read, (gates([1.0] * 3, [0.9, 0.9, 0.1]),))
    source = words("x", "</s>")
    encoder = View("encoder", 1, source, (gates([1.0] * 2, [0.9] * 2),))
    for sentence, tags, side in (
        (Sentence((decoder,), None, predicted, None), ["X", "Y"], "decoder"),
        (Sentence((encoder, decoder), source, predicted, None), ["X"], "encoder"),
    ):
        tables = Tables({})
        tables.add(sentence, tags)
        tables.write(tmp_path)
        found = table(tmp_path, "tags")
        assert [(row["side"], row["tag"]) for row in found.values()] == [(side, x) for x in tags]
        if side == "decoder":
            assert life(found["forward", "X"])[:4] == pytest.approx([1, 1, 1, 0.1])
            assert life(found["forward", "Y"])[:3] == [1, 0, 1]


def test_an_encoder_without_weights_leaves_the_tags_out(tmp_path) -> None:
    """The only view is the decoder's, whose words have no tags."""
    text = words("a", "b")
    view = View("decoder", 1, words("</s>", "x"), (gates([1.0, 1.0], [0.5, 0.5]),))
    tables = Tables({})
    tables.add(Sentence((view,), text, words("x", "y"), None), ["N", "V"])
    tables.write(tmp_path)
    assert table(tmp_path, "tags") == {} and len(table(tmp_path, "words")) == 2


# Arrays

NAMES = "norms input_gates forget_gates contents cells outputs initial_shares initial_cell"
TOKENS = ("a", "b", "c", "d", "</s>")


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_the_arrays_of_a_direction_satisfy_the_equations(tmp_path, reverse) -> None:
    layer = WsumLSTM(3, 6, bidirectional=True, proj_size=2)
    x, h_0, c_0 = torch.randn(len(TOKENS), 1, 3), torch.randn(2, 1, 2), torch.randn(2, 1, 6)
    with torch.no_grad():
        y, _ = layer(x, (h_0, c_0))
        directions = tuple(trace(layer, x, (h_0, c_0)))
    text = words(*TOKENS)
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
