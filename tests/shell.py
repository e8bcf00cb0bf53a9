"""Run the project's scripts, each in its own process."""

import os
import subprocess
from pathlib import Path

import warm

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
# what a cluster may have set around these tests
FOREIGN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


def environment(**variables):
    """The variables of this process without those of a cluster, and additional `variables`."""
    known = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {**known, "OMP_NUM_THREADS": "1", "VENV": str(warm.environment()), **variables}


def run(script, *arguments, **variables):
    """Run a script in the environment of this Python, with additional `variables`."""
    return subprocess.run(
        [SCRIPTS / script, *map(str, arguments)],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=300,
    )


def succeeds(script, *arguments, **variables):
    """Run a script that must succeed; return its output."""
    done = run(script, *arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (_prepares(script) and "INFO" in done.stderr)  # none of fairseq's chatter
    return done.stdout + done.stderr


def fails(script, *arguments, **variables):
    """Run a script that must fail; return its message."""
    done = run(script, *arguments, **variables)
    assert done.returncode != 0, done.stdout
    assert "error: " in done.stderr and "Traceback" not in done.stderr, done.stderr
    clean = done.stderr.startswith(("error: ", "usage: ")) or not _prepares(script)
    assert clean, done.stderr  # none of fairseq's chatter
    return done.stderr


def _prepares(script):
    return str(script).startswith("prepare_")


def lines(path):
    return path.read_text("utf-8").removesuffix("\n").split("\n")


def times_in(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
