"""The benchmarks: their tables, medians and peaks."""

from __future__ import annotations

import bandwidth
import layers
import measure
import programs
import pytest
import torch

from fairseq_wsum import kernels

needs_kernels = pytest.mark.skipif(
    kernels.why_missing() is not None, reason="the C++ kernels were not built"
)


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


def test_memory_is_the_peak() -> None:
    def step() -> None:
        for _ in range(3):
            torch.zeros(1000, dtype=torch.float64)  # freed at once

    assert 8000 <= layers.peak_on_cpu(step) < 16000
