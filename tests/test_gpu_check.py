"""scripts/gpu_check.sh on the CPU, with tiny sizes. Most tests use a stub, not the benchmarks."""

import json
import re

import pytest
import warm
from shell import fails, run, succeeds, write_program

# In place of Python: a program of benchmarks/ prints a line, and FAIL names those that fail.
STUB = """case "$*" in
    *benchmarks/*)
        case "$*" in
            *"--dtype $FAIL "*) echo 'error: no such luck' >&2; exit 3 ;;
            *"--dtype $HANG "*) sleep 60 ;;
        esac
        echo measured ;;
    *) exec "$REAL" "$@" ;;
esac"""
TINY = ("--device", "cpu", "--tiny")


@pytest.fixture
def stub(tmp_path):
    path = tmp_path / "stub" / "python"
    write_program(path, STUB)
    real = str(warm.environment() / "bin" / "python")
    return {"PYTHON": str(path), "REAL": real, "FAIL": "none", "HANG": "none"}


def results(out):
    """The result of each part in the table."""
    lines = (out / "summary.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0]: row[1] for row in rows if row[1] in ("passed", "failed", "skipped")}


def test_the_steps_are_listed_in_order() -> None:
    names = [line.split()[0] for line in succeeds("gpu_check.sh", "--list").splitlines()]
    assert names == ["tests", "speed", "info", "commands"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--steps", "tests,sped"], "--steps tests,sped: there is no step 'sped'"),
        (["--device", "tpu"], "--device tpu"),
        (["--limit", "0"], "--limit 0"),
        (["--out", "12:30"], "--out 12:30"),
        (["--teps"], "--teps"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_wrong_option_is_named(options, named) -> None:
    assert named in fails("gpu_check.sh", *options)


def test_unknown_parts_and_backends_make_no_folder(stub, tmp_path) -> None:
    out = tmp_path / "out"
    options = [*TINY, "--out", out, "--steps"]
    message = fails("gpu_check.sh", *options, "info,speed/fp99", **stub)
    assert "'speed/fp99'; the parts are tests/triton" in message and " speed/bf16-auto" in message
    message = fails("gpu_check.sh", *options, "info", "--backend", "best", **stub)
    assert "--backend best: choose from auto, " in message
    assert not out.exists()


def test_the_results_are_in_the_summary_and_in_files(tmp_path) -> None:
    out = tmp_path / "out"
    steps = "info,speed/fp32-auto,speed/bf16-tri,tests/triton"
    printed = succeeds("gpu_check.sh", *TINY, "--steps", steps, "--out", out)
    assert results(out) == {
        "tests/triton": "skipped",
        "speed/fp32-auto": "passed",
        "speed/bf16-triton": "skipped",
        "info": "passed",
    }
    summary = (out / "summary.md").read_text()
    assert summary in printed and "| tests/triton | skipped | 0 | needs a GPU | " in summary
    for name in ("device", "driver", "torch", "Triton", "date"):
        assert f"\n| {name} | " in summary
    assert "backend=auto takes" in (out / "info" / "info.txt").read_text()
    record = json.loads((out / "speed" / "fp32-auto.json").read_text())
    assert {result["layer"] for result in record["results"]} >= {"lstm", "no-gates", "gru"}


@pytest.mark.slow
def test_commands_and_layers_pass_on_the_cpu(tmp_path) -> None:
    models = ("lstm", "lm-lstm", "transformer", "lm-transformer")
    parts = [*(f"commands/{model}-fp32" for model in models), "tests/layers"]
    succeeds("gpu_check.sh", *TINY, "--steps", ",".join(parts), "--out", tmp_path / "out")
    assert results(tmp_path / "out") == dict.fromkeys(parts, "passed")


def test_a_failed_part_is_named_and_the_others_run(stub, tmp_path) -> None:
    out = tmp_path / "out"
    options = [*TINY, "--out", out, "--steps", "info,speed"]
    message = fails_after("gpu_check.sh", *options, **stub | {"FAIL": "fp32"})
    found = results(out)
    assert found["speed/fp32-auto"] == found["speed/fp32-reference"] == "failed"
    assert found["speed/bf16-auto"] == found["info"] == "passed"
    assert "error: failed: speed/fp32-auto, speed/fp32-" in message
    assert "status 3: error: no such luck" in (out / "summary.md").read_text()

    # the folder is refused; with --resume only what failed runs again, into another file, and the
    # others keep their commit and date
    recorded = (out / "results.tsv").read_text()
    (out / "results.tsv").write_text(re.sub(r"\t[^\t\n]*$", "\tabc, then", recorded, flags=re.M))
    before = (out / "results.tsv").read_text()
    assert f"--out {out} has results already" in fails("gpu_check.sh", *options, **stub)
    assert "has results of" in fails("gpu_check.sh", *TINY[:2], "--out", out, "--resume", **stub)
    assert (out / "results.tsv").read_text() == before
    again = succeeds("gpu_check.sh", *options, "--resume", **stub)
    assert "speed/bf16-auto: passed before" in again and "info: passed before" in again
    assert "failed" not in results(out).values()
    rows = (out / "summary.md").read_text().splitlines()
    assert any(row.startswith("| info ") and row.endswith("| abc, then |") for row in rows)
    assert not any(row.startswith("| speed/fp32-auto ") and "abc, then" in row for row in rows)
    names = {path.name for path in (out / "speed").iterdir()}
    assert "fp32-auto.2.txt" in names and "bf16-auto.2.txt" not in names
    assert "no such luck" in (out / "speed" / "fp32-auto.txt").read_text()


def test_commands_run_in_the_environment_of_the_interpreter_or_not_at_all(stub, tmp_path) -> None:
    out = tmp_path / "out"  # the folder of the stub has no fairseq-train
    succeeds("gpu_check.sh", *TINY, "--out", out, "--steps", "commands/gru-fp32", **stub)
    assert results(out) == {"commands/gru-fp32": "skipped"}
    assert "stub lacks python or fairseq-train" in (out / "summary.md").read_text()


def test_a_part_that_hangs_is_stopped(stub, tmp_path) -> None:
    out = tmp_path / "out"
    options = [*TINY, "--out", out, "--steps", "info,speed/fp32-auto", "--limit", "2"]
    fails_after("gpu_check.sh", *options, **stub | {"HANG": "fp32"})
    assert results(out)["speed/fp32-auto"] == "failed"
    assert "stopped at the time limit of 2 s" in (out / "summary.md").read_text()


def test_a_folder_with_other_files_is_refused(stub, tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("...")
    message = fails("gpu_check.sh", *TINY, "--steps", "info", "--out", tmp_path, **stub)
    assert f"--out {tmp_path} has other files in it" in message


def fails_after(script, *arguments, **variables):  # type: ignore[no-untyped-def]
    """Run a script that fails at its end; return its messages."""
    done = run(script, *arguments, **variables)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr
