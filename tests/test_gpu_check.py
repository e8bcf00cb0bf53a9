"""scripts/gpu_check.sh on the CPU: with stand-ins for its commands, and once with the real ones."""

import signal
import subprocess
import sys
import time

import pytest
from commands import ROOT
from shell import fails

# In place of the commands of the parts: one fails, and one never ends.
STUB = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import gpu_check
code = {"layers": "import time; print('measured', flush=True); time.sleep(60)",
        "triton": "print('measured'); sys.exit('error: no such luck')"}
gpu_check.commands = lambda part, *_: {
    part: [sys.executable, "-c", "import sys; " + code.get(part, "print('measured')")]}
gpu_check.main()
"""


def start(out, *options):
    command = [sys.executable, "-c", STUB, ROOT / "benchmarks", "--device", "cpu", "--out", out]
    return subprocess.Popen([*map(str, command), *options], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--parts", "layers,sped"], "--parts sped: choose from info, layers"),
        (["--device", "tpu"], "--device: invalid choice: 'tpu'"),
        (["--out", "/"], "--out / exists; give a new folder"),
    ],
)
def test_a_wrong_option_is_named(options, message) -> None:
    assert message in fails("gpu_check.sh", *options, PYTHON=sys.executable)


def test_a_failure_and_a_time_limit_stop_no_other_part(tmp_path) -> None:
    process = start(tmp_path / "out", "--limit", "1")
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert printed == (tmp_path / "out/summary.txt").read_text()
    results = dict(line.split(": ", 1) for line in printed.splitlines())
    assert results["layers"].startswith("stopped after 1 s")
    assert results["triton"].startswith("failed with status 1")
    assert results["triton"].endswith("s: error: no such luck")
    for name in ("info", "speed", "commands"):
        assert results[name].startswith("passed") and results[name].endswith("s: measured")


def test_a_stopped_script_ends_its_command(tmp_path) -> None:
    process = start(tmp_path / "out", "--parts", "info,layers")
    deadline = time.monotonic() + 30
    while not (log := tmp_path / "out/layers.txt").exists() or not log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0].startswith("info: passed")
    assert process.returncode == 143
