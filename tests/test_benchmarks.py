"""The benchmarks: their tables, medians and peaks, and the searches of decoding_steps.py."""

from __future__ import annotations

import bandwidth
import layers
import measure
import pytest
import torch
from cpp_oracle import needs_kernels

pytest.importorskip("fairseq")
import decoding_steps
import programs
import tasks
from decoding_steps import Batch, Search, Words, build
from systems import transformers


def table_of(printed: str) -> list[dict[str, str]]:
    """The rows of all printed tables."""
    found, header = [], None
    for line in printed.splitlines():
        cells = line.strip("| ").split(" | ")
        if not line.startswith("|"):
            header = None
        elif header is None:
            header = cells
        elif set(cells) != {"---"}:
            found.append(dict(zip(header, cells, strict=True)))
    return found


def test_layers_are_compared_with_their_peers(capsys) -> None:
    options = ["--cells", "no-srnn", "no-gates", "qrnn", "--shapes", "3,2,4", "2,1,3", "--masks"]
    layers.main([*options, "--rounds", "1", "--inputs", "7"])
    rows = table_of(capsys.readouterr().out)
    one_shape = [
        ("no-srnn", "nn.LSTM"),
        ("no-srnn, mask", "no-srnn"),
        ("no-gates", "nn.RNN"),
        ("no-gates, mask", "no-gates"),
        ("qrnn", "nn.GRU"),
        ("qrnn, mask", "qrnn"),
        ("qrnn, window 2", "nn.GRU"),
        ("qrnn, window 2, mask", "qrnn, window 2"),
    ]
    assert [(row["layer"], row["peer"]) for row in rows] == 2 * one_shape
    assert [row["T, B, H"] for row in rows[::8]] == ["3, 2, 4", "2, 1, 3"]
    assert all(float(row["memory / peer"]) > 0 for row in rows)


def test_ratios_are_above_one_if_ours_is_faster(monkeypatch) -> None:
    times = {"nn.LSTM": 6.0, "lstm": 2.0}
    monkeypatch.setattr(layers, "median_times", lambda *_, **__: times)
    (row,) = layers.compare((2, 1, 3), ["lstm"])
    assert (row["forward ms"], row["forward + backward"]) == ("2000.00", "3.00")
    rows = programs.rows({programs.PEER: 10.0, "ours": 20.0}, "words a second")
    assert [row["times as fast"] for row in rows] == ["1.00", "2.00"]
    seconds, state = {"self-attention": 0.004, "mingru": 0.002}, {"self-attention": 25, "mingru": 5}
    row = decoding_steps.Window(Batch(1, 1), 1, 20, seconds, state).row()
    assert list(row.values()) == ["1", "1", "1 to 20", "4.00", "2.00", "2.00", "0.000", "0.000"]


@needs_kernels
def test_bandwidth_is_compared_with_that_of_a_copy(capsys, monkeypatch) -> None:
    times = {"forward": 2.0, "backward": 4.0, "copy": 1.0}
    monkeypatch.setattr(bandwidth, "median_times", lambda *_, **__: times)
    bandwidth.main(["--shapes", "500,1,8"])
    rows = {row["cell"]: row for row in table_of(capsys.readouterr().out)}
    assert rows.keys() > {"no-srnn-hidden", "sru"}
    # two rows are read and one, the memory and output, is written; the copy moves four
    assert rows["mingru"]["forward / copy"] == f"{3 / 4 / 2:.2f}"


def test_times_and_speeds_are_medians_without_the_warm_up(monkeypatch) -> None:
    times = iter([2.0, 9.0, 1.0])
    calls = []
    monkeypatch.setattr(measure, "time_of", lambda step, device: next(times))
    step = {"a": lambda: calls.append(1)}
    assert measure.median_times(step, rounds=3, device="cpu") == {"a": 2.0}
    assert calls == [1]  # is not timed

    rates = [1.0, 1.0, 7.0, 5.0, 60.0]  # the first two are not counted
    log = "".join(f'| train_inner | {{"wps": "{rate}"}}\n' for rate in rates)
    monkeypatch.setattr(programs, "run", lambda command, system: log)
    assert programs.train("data", [programs.System("a")], 5, rounds=2, options=[]) == {"a": 7.0}


@pytest.mark.parametrize(
    ("recipe", "kind"), [("parser", "treebank"), ("squad", "questions"), ("sst", "sentiment")]
)
def test_models_of_recipes_are_compared_with_the_first_cell(recipe, kind, request, capsys) -> None:
    data = request.getfixturevalue(kind) / "data"
    options = ["--cells", "no-gates", "no-srnn-hidden", "--batches", "1", "--rounds", "1"]
    options += ["--labels", "5"] if recipe == "sst" else []  # an option of the recipe
    tasks.main([recipe, str(data), *options])
    rows = table_of(capsys.readouterr().out)
    assert [row["model"] for row in rows] == ["no-gates", "no-srnn-hidden"]
    for what in ("train", "predict"):
        speed, peer = (float(row[f"{what}, words/s"].replace(",", "")) for row in rows[::-1])
        ratio = float(rows[1][f"{what}, times no-gates"])
        assert rows[0][f"{what}, times no-gates"] == "1.00"
        assert ratio == pytest.approx(speed / peer, abs=0.02)


def test_memory_is_the_peak() -> None:
    def step() -> None:
        for _ in range(3):
            torch.zeros(1000, dtype=torch.float64)  # freed at once

    assert 8000 <= layers.peak_on_cpu(step) < 16000


# decoding_steps.py


def test_the_state_grows_with_attention_alone() -> None:
    for batch in (Batch(2, 3), Batch(1, 1)):
        models = {s.name: build(s, vocabulary=9) for s in transformers(["no-srnn-hidden"])}
        found = decoding_steps.measure(models, batch, 9, positions=5, window=2, rounds=2)
        assert [(w.first, w.last) for w in found] == [(1, 2), (3, 4), (5, 5)]
        assert all(seconds > 0 for w in found for seconds in w.seconds.values())
        # the keys, the values and the padding mask of the source in each of four layers
        source = 4 * batch.sentences * decoding_steps.SOURCE_WORDS * (128 + 128 + 1) * 4
        vectors = 4 * batch.hypotheses * 2 * 128 * 4  # a key and a value, or h and c
        sizes = [tuple(w.state.values()) for w in found]
        assert sizes == [(source + n * vectors, source + vectors) for n in (2, 4, 5)]


@pytest.mark.parametrize("number", [0, 1], ids=["attention", "gated-sum"])
def test_a_search_computes_the_scores_of_its_hypotheses(number) -> None:
    system = transformers(["no-srnn-hidden"])[number]  # fairseq's own comes first
    model, batch = build(system, vocabulary=9), Batch(sentences=2, beam=3)
    words = Words.random(batch, vocabulary=9, positions=4)
    search = Search(model, batch, words)
    history = torch.empty(6, 0, dtype=torch.long)
    for t in range(4):
        if t > 0:
            history = history[words.continued[t]]
        history = torch.cat((history, words.target[:, t : t + 1]), dim=1)
        scores = search.step(t)
    source = words.source[batch.sentence_of_each]
    lengths = torch.full((6,), source.size(1))
    whole, _ = model(source, lengths, history)
    torch.testing.assert_close(scores[:, 0], whole[:, -1], rtol=1e-4, atol=1e-4)


def test_times_and_states_are_printed_and_drawn(tmp_path, capsys) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "steps.svg"
    command = ["--vocabulary", "9", "--rounds", "1", "--positions", "3", "--window", "2"]
    decoding_steps.main([*command, "--batches", "1,2", "2,2", "--picture", str(picture)])
    printed = capsys.readouterr().out
    assert "| 1 | 2 | 1 to 2 |" in printed and "| 2 | 2 | 3 to 3 |" in printed
    drawn = picture.read_text()
    shown = ("2 hypotheses", "time of a step, ms", "state, MB", "no-srnn-hidden")
    assert all(f">{text}</text>" in drawn for text in shown)
