"""Run the project's scripts, each in its own process."""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import warm

from fairseq_wsum.experiments.program import UserError

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
PYTHON = f'exec {shlex.quote(sys.executable)} "$@"'  # a shell script that is this Python
# What a cluster or a user may have set around these tests, see docs/environment.md.
FOREIGN = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMPI_COMM_WORLD_SIZE",
    "SLURM_PROCID", "SLURM_JOB_ID", "SLURM_NNODES", "SLURM_STEP_NUM_TASKS",
    "SLURM_JOB_NODELIST", "SLURM_STEP_NODELIST",
    "OMP_WAIT_POLICY",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
    "PYTHON", "GLOO_SOCKET_IFNAME", "FAIRSEQ_WSUM_PRODUCTS", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
)  # fmt: skip


def own_variables():
    """The variables of this process without those that change what a command does."""
    return {name: value for name, value in os.environ.items() if name not in FOREIGN}


def environment(**variables):
    """`own_variables`, those of the warm environment, and additional `variables`."""
    ours = {"OMP_NUM_THREADS": "1", "VENV": str(warm.environment())}
    return {**own_variables(), **ours, **variables}


def run(script, *arguments, **variables):
    """Run a script in the environment of this Python, in a folder outside the clone."""
    return subprocess.run(
        [SCRIPTS / script, *map(str, arguments)],
        cwd="/",
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
    if _prepares(script):  # fairseq, if it is imported before, prints nothing here
        variables.setdefault("WARM", "torch")
    done = run(script, *arguments, **variables)
    assert done.returncode != 0, done.stdout
    assert "error: " in done.stderr and "Traceback" not in done.stderr, done.stderr
    clean = done.stderr.startswith(("error: ", "usage: ")) or not _prepares(script)
    assert clean, done.stderr  # none of fairseq's chatter
    return done.stderr


def prepare_here(*words):
    """Prepare a corpus in this process."""
    from fairseq_wsum.experiments.corpora import prepare

    prepare.main([*map(str, words)])


def refuses(main, capsys, *words):
    """Call a program in this process, which must end with a message; return it."""
    kinds = (UserError, OSError, SystemExit, argparse.ArgumentTypeError)
    with pytest.raises(kinds) as error:
        main([*map(str, words)])
    return capsys.readouterr().err + str(error.value)


def _prepares(script):
    return str(script).startswith("prepare_")


def lines(path):
    return path.read_text("utf-8").removesuffix("\n").split("\n")


def times_in(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def names_in(folder):
    """The names of the files below a folder, in order."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def write_programs(folder, programs):
    """Stand-ins for the commands of an environment: a folder `bin` with a shell script for each."""
    for name, code in programs.items():
        write_program(folder / "bin" / name, code)


def write_program(path, code):
    """A shell script that can be executed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{code}\n")
    path.chmod(0o755)
