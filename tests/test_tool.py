"""`fairseq-wsum` and the benchmarks: output, files and rejected input."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial

import bandwidth
import layers
import profiles
import programs
import pytest
import report
import torch
from commands import ROOT, run
from shell import environment

from fairseq_wsum import CELLS, __version__, cli, kernels
from fairseq_wsum.recurrence import problem, triton


def test_info_names_the_backend_of_each_type_and_why_not_the_others(capsys) -> None:
    cli.main(["info"])
    printed = capsys.readouterr().out
    missing = kernels.why_missing()
    for name in CELLS:
        torchs = name in ("lstm", "no-gates", "gru")
        fast = "cpp" if not missing else "torch" if torchs else "reference"
        assert f"| {name} | {fast} | {fast} | reference | reference |" in printed
    assert f"- not cpp: {missing or 'it computes in float32 and bfloat16'}" in printed
    assert "- not torch: it has torch's kernels for lstm, no-gates and gru\n" in printed
    assert "- not triton: it runs on GPUs, and the layer is on cpu" in printed


def test_a_triton_that_cannot_be_imported_is_a_reason(monkeypatch) -> None:
    def fail(name):
        raise ImportError("no libcuda")

    monkeypatch.setattr(triton, "find_spec", lambda name: True)
    monkeypatch.setattr(triton, "import_module", fail)
    assert triton.why_missing() == (
        "triton cannot be imported (ImportError: no libcuda): install it again"
    )


@pytest.mark.parametrize(
    ("arguments", "missing", "message"),
    [
        ("options wsum_lstm", "fairseq", "the models need fairseq, and "),
        ("weights a.pt --sentence a --arrays {out}/a.npz", "fairseq", "import of fairseq halted"),
        (
            "study {out}/study.yaml",
            "submitit",
            "studies need the extras fairseq and study of this pa",
        ),
        ("report {out}/study.yaml", "yaml", "studies need the extras fairseq and study of this pa"),
        ("report {out}/study.yaml", "scipy", "studies need the extras fairseq and study of this p"),
    ],
    ids=["options", "weights", "study", "report", "report without scipy"],
)
def test_a_command_names_the_package_that_it_lacks(arguments, missing, message, tmp_path) -> None:
    words = arguments.format(out=tmp_path).split()
    code = f"import sys; from fairseq_wsum import cli; sys.modules[{missing!r}] = None; "
    printed = run("python", "-c", f"{code}cli.main({words})", check=False)
    assert printed.startswith(f"error: {message}") and missing in printed
    assert printed.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_version_has_the_commit_of_a_checkout_of_this_package_only(tmp_path) -> None:
    variables = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    author = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull}
    committer = {"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@b"}
    env = {**environment(), **variables, **author, **committer}

    def call(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def version() -> str:
        code = "from fairseq_wsum import machine; print(machine.__file__, machine.version())"
        file, _, found = call(sys.executable, "-c", code).partition(" ")
        assert file == str(package / "machine.py")
        return found

    package = tmp_path / "fairseq_wsum"
    shutil.copytree(ROOT / "fairseq_wsum", package, ignore=shutil.ignore_patterns("_*.so", "__py*"))
    (tmp_path / "README").touch()
    call("git", "init")
    call("git", "add", "README")
    call("git", "commit", "-m", "a project that has the package installed in its folder")
    assert version() == __version__
    call("git", "add", "fairseq_wsum")
    call("git", "commit", "-m", "the package")
    commit = call("git", "rev-parse", "--short", "HEAD")
    assert version() == f"{__version__} {commit}"
    (package / "__init__.py").write_text((package / "__init__.py").read_text() + "# changed")
    assert version() == f"{__version__} {commit}-dirty"


def test_a_reader_that_stops_early_gets_no_message() -> None:
    for reader, read in (("head -1", "fairseq-wsum"), ("true", "")):
        command = f"{shlex.quote(sys.executable)} -m fairseq_wsum.cli info | {reader}"
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert done.stdout.startswith(read) and not done.stderr


def test_bench_layers_prints_and_writes_every_ratio(capsys, tmp_path) -> None:
    path = tmp_path / "new" / "layers.json"
    options = ["--cells", "no-srnn", "no-gates", "--shapes", "3,2,4", "--rounds", "1"]
    layers.main([*options, "--masks", "--json", str(path)])
    printed = capsys.readouterr().out
    record = json.loads(path.read_text())
    pairs = [(r["layer"], r["peer"], r["padded"]) for r in record["results"] if r["layer"] != "SRU"]
    assert pairs == [
        ("no-srnn", "nn.LSTM", False),
        ("no-srnn", "no-srnn", True),
        ("no-gates", "nn.RNN", False),
        ("no-gates", "no-gates", True),
    ]
    assert record["title"] in printed and "| no-srnn with a mask | no-srnn | 3, 2, 4 |" in printed
    assert all(r[key] > 0 for r in record["results"] for key in ("forward", "both", "memory"))


@pytest.mark.skipif(kernels.why_missing() is not None, reason="the C++ kernels were not built")
def test_bench_bandwidth_compares_with_a_copy_of_the_same_size(capsys, tmp_path) -> None:
    path = tmp_path / "bandwidth.json"
    options = ["--cells", "no-srnn-hidden", "--shapes", "5,3,8", "--dtype", "bf16"]
    bandwidth.main([*options, "--rounds", "1", "--json", str(path)])
    (result,) = json.loads(path.read_text())["results"]
    assert all(result[rate] > 0 for rate in ("forward", "backward", "copy"))
    share = result["forward"] / result["copy"]
    assert f"{share:.2f} | {result['backward'] / result['copy']:.2f} |" in capsys.readouterr().out
    bandwidth.main(["--shapes", "5,3,8", "--dtype", "bf16", "--rounds", "1"])  # with all cells
    assert "| sru | 5, 3, 8 |" in capsys.readouterr().out


@pytest.mark.skipif(kernels.why_missing() is not None, reason="the C++ kernels were not built")
def test_bench_bandwidth_leaves_out_cells_without_a_kernel_on_the_device(
    capsys, monkeypatch
) -> None:
    has_kernels = problem.has_kernels
    monkeypatch.setattr(problem, "has_kernels", lambda cell, device: has_kernels(cell, "cuda"))
    bandwidth.main(["--shapes", "5,3,8", "--rounds", "1"])
    rows = capsys.readouterr().out.splitlines()[3:]
    names = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert "no-srnn-hidden" in names and "sru" not in names


def test_bench_layers_refuses_cuda_graphs_on_the_cpu() -> None:
    with pytest.raises(ValueError, match="--graphs is for --device cuda"):
        layers.main(["--graphs"])


def test_bench_layers_compares_a_layer_with_a_mask_or_a_scan_with_itself() -> None:
    x = torch.randn(3, 2, 4)
    cells = ["qrnn", "no-srnn-hidden"]
    subjects, pairs = layers._subjects(x, 4, cells, True, True, "auto", {})
    assert ("qrnn, mask", "qrnn") in pairs and "qrnn, window 2" in subjects
    for name in cells:
        assert (f"{name}, scan", name) in pairs
        assert not problem.has_kernels(subjects[f"{name}, scan"].layer.cell, "cpu")
    assert subjects["qrnn, mask"].layer is subjects["qrnn"].layer


def test_ratios_are_above_one_if_ours_is_better() -> None:
    times = dict(forward=1.0, both=2.0, peer_forward=4.0, peer_both=6.0)
    result = layers.Result("a", "b", (1, 1, 1), False, memory=100, peer_memory=50, **times)
    assert list(result.row().values())[-3:] == ["4.00", "3.00", "2.00"]
    rows = programs.rows({programs.PEER: 10.0, "ours": 20.0}, "words a second")
    assert [row["times as fast"] for row in rows] == ["1.00", "2.00"]


def test_times_and_speeds_are_medians_without_the_warm_up(monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(layers.time, "perf_counter", lambda: clock[0])
    took = iter([100.0, 2.0, 9.0, 1.0])  # the first is not counted

    def step() -> None:
        clock[0] += next(took)

    assert layers.median_times({"a": step}, rounds=3, device="cpu") == {"a": 2.0}

    rates = [1.0, 1.0, 7.0, 5.0, 60.0]  # the first two are not counted
    log = "".join(f'| train_inner | {{"wps": "{rate}"}}\n' for rate in rates)
    monkeypatch.setattr(programs, "_run", lambda command, onednn: log)
    system = programs.System("a", [])
    measured = programs.train("data", [system], updates=5, rounds=2, options=[])
    assert (measured.rates, measured.profiles) == ({"a": 7.0}, {})


def test_a_profile_gives_the_time_of_every_part(tmp_path) -> None:
    operations = [
        ("aten::mm", [[6, 5], [5, 70]], 1.0),  # a vocabulary of seven words, ten beams
        ("aten::_log_softmax", [[6, 7], [], []], 2.0),
        ("mkldnn::_linear_pointwise", [[6, 5], [8, 5], []], 4.0),
        ("GeneratedBackwardFor_fairseq_wsum_recurrence_defaultBackward", [[3, 6, 5]], 8.0),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", [[6, 2, 3, 5]], 0.5),
        ("aten::add_", [[6, 5], [0]], 16.0),
    ]
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"step": 40.0, "operations": operations}))
    found = profiles.Profile.read(path, words=7)
    assert found.step == 40.0
    assert found.parts == {
        profiles.OUTPUT: 1.0,
        profiles.WIDE: 2.0,
        profiles.LAYERS: 12.5,
        profiles.REST: 24.5,
    }
    (row,) = profiles.rows({"ours": found})
    assert list(row.values()) == ["ours", "40000", "1000", "2000", "12500", "24500"]


def test_memory_is_the_peak() -> None:
    def step() -> None:
        for _ in range(3):
            torch.zeros(1000, dtype=torch.float64)  # freed at once

    assert 8000 <= layers.peak_memory(step) < 16000


def test_growth_is_drawn_or_names_the_missing_package(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(layers, "GROWTH", {"time steps": ((2, 1, 3), (4, 1, 3))})
    picture = tmp_path / "growth.svg"
    options = ["--cells", "no-srnn", "--shapes", "2,1,3", "--rounds", "1"]
    command = [*options, "--growth", str(picture), "--inputs", "7"]
    sizes = set()
    compare = layers.compare

    def recorded(*args, **named):
        sizes.add(named["inputs"])
        return compare(*args, **named)

    monkeypatch.setattr(layers, "compare", recorded)
    if importlib.util.find_spec("matplotlib"):
        layers.main(command)
        assert "<svg" in picture.read_text() and sizes == {7}
    else:
        with pytest.raises(ValueError, match="--growth needs matplotlib: pip install"):
            layers.main(command)


@pytest.mark.parametrize(
    ("program", "options", "named"),
    [
        (layers, ["--shapes", "3,4"], "'3,4' is not T,B,H"),
        (layers, ["--rounds", "0"], "'0' is not a positive"),
        (layers, ["--fast"], "unrecognized arguments: --fast"),
        (layers, ["--json", "/"], "/ is a folder: give a file in it"),
        (programs, ["train", "/no/such/folder"], "no data folder /no/such/folder"),
        (programs, ["train", "/", "--heads", "2"], "--heads is for --model transformer"),
        (cli, ["options", "wsum_gru"], "no architecture wsum_gru: those of this package are wsum_"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_named(program, options, named, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        report.end_with_errors(partial(program.main, options))
    assert named in f"{stopped.value}{capsys.readouterr().err}"


def test_the_help_of_every_option_can_be_printed(capsys) -> None:
    pytest.importorskip("fairseq")
    cli.main(["options", "wsum_lstm_multi30k"])
    printed = " ".join(capsys.readouterr().out.split())
    assert re.search(r"--encoder-cell \w+ cell of the encoder \(default: --cell\) -", printed)
    assert "--init-range INIT_RANGE draw all parameters uniformly from [-R, R], except" in (printed)
    assert re.search(
        r"--encoder-embed-dim \w+ encoder embedding dimension \(default: 384\)", printed
    )
