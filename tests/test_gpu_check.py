"""scripts/gpu_check.sh on the CPU, with a stand-in for Python, and once with the real one."""

import os
import signal
import subprocess
import sys
import time

import pytest
from shell import SCRIPTS, environment, fails, run, write_program

CPU = ("--device", "cpu")
# In place of Python: a part prints a line, and FAIL and HANG name those that fail or never end.
STUB = """echo measured
case "$*" in
    *"$FAIL"*) echo 'error: no such luck'; exit 3 ;;
    *"$HANG"*) exec sleep 60 ;;
esac"""


@pytest.fixture
def stub(tmp_path):
    path = tmp_path / "stub"
    write_program(path, STUB)
    return {"PYTHON": str(path), "FAIL": "none", "HANG": "none"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--parts", "layers,sped"], "--parts layers,sped: choose from info, layers"),
        (["--device", "tpu"], "--device tpu"),
        (["--limit", "0"], "--limit 0"),
        (["--out", "/"], "--out / exists; give a new folder"),
    ],
)
def test_a_wrong_option_is_named(options, message) -> None:
    assert message in fails("gpu_check.sh", *options)


def test_a_failure_and_a_time_limit_stop_no_other_part(stub, tmp_path) -> None:
    out = tmp_path / "out"
    variables = stub | {"FAIL": "bandwidth.py", "HANG": "test_gpu.py"}
    done = run("gpu_check.sh", *CPU, "--out", out, "--limit", 1, **variables)
    assert done.returncode == 1
    summary = (out / "summary.txt").read_text()
    assert summary in done.stdout.split("== ")[-1]
    results = dict(line.split(":", 1) for line in summary.splitlines())
    assert results["layers"].startswith(" stopped after 1 s")
    assert results["bandwidth-bf16"].startswith(" failed with status 3")
    assert results["bandwidth-bf16"].endswith("error: no such luck")
    for name in ("info", "triton", "layers-fp32", "layers-bf16", "commands"):
        assert results[name].startswith(" passed")
    assert (out / "bandwidth-bf16.txt").read_text() == "measured\nerror: no such luck\n"


def test_a_stopped_script_prints_what_it_has(stub, tmp_path) -> None:
    out = tmp_path / "out"
    command = [SCRIPTS / "gpu_check.sh", *CPU, "--out", out, "--parts", "info,layers"]
    variables = environment(**stub | {"HANG": "test_gpu.py"})
    script = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not ((out / "layers.txt").exists() and (out / "layers.txt").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    script.send_signal(signal.SIGTERM)
    printed = script.communicate(timeout=30)[0]
    assert "info: passed" in printed and "== stopped in layers:\nmeasured\n" in printed
    assert script.returncode == 143


def test_pytest_reports_the_tests_before_the_time_limit(tmp_path) -> None:
    """With the real Python, in which the tests of a layer take longer."""
    out = tmp_path / "out"
    options = [*CPU, "--parts", "info,layers", "--limit", 20, "-x", "--out", out]
    done = run("gpu_check.sh", *options, "-k", "lstm", PYTHON=sys.executable)
    summary = (out / "summary.txt").read_text()
    assert "info: passed" in summary, done.stderr
    assert "backend=auto takes" in (out / "info.txt").read_text()
    assert "layers: stopped after 20 s" in summary or "layers: passed" in summary
    assert os.path.getsize(out / "layers.xml") > 100
