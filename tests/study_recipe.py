"""Studies with a recipe that takes no time, and the command that runs them.

The recipe is a script that counts epochs in a file, with the log lines of fairseq, and goes on
where it was killed.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import warm
import yaml
from commands import ROOT
from shell import own_variables

from fairseq_wsum.experiments.studies.plan import Plan, read_plan

STUDIES = ROOT / "examples/ablation_study"
STUDY = ["-m", "fairseq_wsum.cli"]
WARM = str(warm.environment() / "bin" / "python")  # starts fast, but signals do not reach it

VALID = (
    "2026-01-01 | INFO | valid | epoch 00$epoch | valid on 'valid' subset | loss 7 | ppl $epoch.5"
)
RECIPE = r"""#!/usr/bin/env bash
# Counts to 5 epochs; the perplexity is 100 / seed.
set -eu
for option; do
    case "$option" in
        --run=*) run="${option#*=}" ;;
        --seed=*) seed="${option#*=}" ;;
        --cell=*) cell="${option#*=}" ;;
        --out=*) out="${option#*=}" ;;
        --prepare-only)
            [ -z "${NO_DATA:-}" ] || { echo "no network"; exit 1; }
            echo prepared >>"$out/prepared"; exit ;;
        --fail) echo "out of memory"; exit 1 ;;
    esac
done
mkdir -p "$run"
echo "VENV=${VENV-}"
echo "  'max_epoch': 5,"
epoch=$(cat "$run/epoch" 2>/dev/null || echo 0)
while [ "$epoch" -lt 5 ]; do
    while [ "$epoch" -ge "${STAY_AT:-5}" ]; do sleep 0.1; done
    epoch=$((epoch + 1))
    echo "$epoch" >"$run/epoch.partial"
    mv "$run/epoch.partial" "$run/epoch"
    echo "VALID"
done
echo "OMP_NUM_THREADS=${OMP_NUM_THREADS-}" >"$run/environment"
echo "{\"valid\": $((200 / seed)).5, \"test\": $((100 / seed)).5}" >"$run/perplexity.json"
""".replace("VALID", VALID)


def writer(folder: Path) -> Callable[..., Path]:
    """A function that writes a study with the keys that it gets, and returns its file."""
    recipe = folder / "recipe.sh"
    recipe.write_text(RECIPE)
    recipe.chmod(0o755)

    def write(**keys) -> Path:
        study = {"tasks": {"counting": {"recipe": "recipe.sh"}}, "cells": ["lstm", "no-srnn"]}
        file = folder / "study.yaml"
        file.write_text(yaml.safe_dump({**study, **keys}, sort_keys=False))
        return file

    return write


def plan_of(file: Path) -> Plan:
    return read_plan(file, file.parent / "out")


def start(
    file: Path, *options: str, command: str = "study", python: str = sys.executable, **environment
):
    """Start the command; its output goes to a file, which a worker that is left cannot block."""
    log = (file.parent / "log").open("w+")
    # A shell's background job ignores SIGINT, and under nohup SIGHUP, and so would its children.
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    process = subprocess.Popen(
        [python, *STUDY, command, str(file), "--out", str(file.parent / "out"), *options],
        stdout=log, stderr=subprocess.STDOUT, env={**own_variables(), **environment},
        start_new_session=True,
    )  # fmt: skip
    for number, handler in before.items():
        signal.signal(number, handler)
    return process, log


def wait_until(
    condition: Callable[[], bool], process: subprocess.Popen, seconds: float = 600
) -> None:
    """Wait for something that a running study does."""
    deadline = time.monotonic() + seconds
    try:
        while not condition():
            assert process.poll() is None, "the study is over"
            assert time.monotonic() < deadline, "the study takes too long"
            time.sleep(0.05)
    except BaseException:
        process.terminate()  # the recipes end with it; one that stays at an epoch would never end
        raise


def run_study(file: Path, *options: str, python: str = WARM, **environment) -> tuple[int, str]:
    process, log = start(file, *options, python=python, **environment)
    status = process.wait(900)
    log.seek(0)
    return status, log.read()


def epochs(file: Path) -> int:
    """The number of epochs that all runs have done."""
    return sum(int(path.read_text()) for path in file.parent.glob("out/*/*/*/epoch"))


def task(**keys) -> dict:
    return {"tasks": {"counting": {"recipe": "recipe.sh", **keys}}}
