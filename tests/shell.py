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
    "PYTHON", "GLOO_SOCKET_IFNAME", "FAIRSEQ_WSUM_PRODUCTS",
    "FAIRSEQ_WSUM_SEARCH", "FAIRSEQ_WSUM_CLONE", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
)  # fmt: skip


def own_variables():
    """The variables of this process without those that change what a command does."""
    return {name: value for name, value in os.environ.items() if name not in FOREIGN}


def environment(**variables):
    """`own_variables`, those of the warm environment, and additional `variables`."""
    ours = {"OMP_NUM_THREADS": "1", "VENV": str(warm.environment())}
    return {**own_variables(), **ours, **variables}


def completed(command, *words, stdin="", **variables):
    """Run a script, a command of the environment or any other, in a folder outside the clone."""
    places = (folder / command for folder in (SCRIPTS, warm.environment() / "bin"))
    words = [next(filter(Path.exists, places), command), *map(str, words)]
    kept = dict(input=stdin, capture_output=True, text=True, timeout=600)
    return subprocess.run(words, cwd="/", env=environment(**variables), **kept)


def run(command, *words, stdin="", check=True, **variables) -> str:
    """Run a command, which must succeed, or fail unless `check`; return its output."""
    ended = completed(command, *words, stdin=stdin, **variables)
    output: str = ended.stdout + ended.stderr
    assert (ended.returncode == 0) == check, output[-4000:]
    return output


def succeeds(script, *arguments, **variables):
    """Run a script that must succeed; return its output."""
    output = run(script, *arguments, **variables)
    assert not (_prepares(script) and "INFO" in output)  # none of fairseq's chatter
    return output


def fails(script, *arguments, **variables):
    """Run a script that must fail; return its message."""
    if _prepares(script):  # fairseq, if it is imported before, prints nothing here
        variables.setdefault("WARM", "torch")
    ended = completed(script, *arguments, **variables)
    said = ended.stderr
    assert ended.returncode != 0, ended.stdout
    assert "error: " in said and "Traceback" not in said, said
    clean = said.startswith(("error: ", "usage: ")) or not _prepares(script)
    assert clean, said  # none of fairseq's chatter
    return said


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
    return script == "prepare.sh"


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
