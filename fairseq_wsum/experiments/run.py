"""One run of a study: a recipe in a process of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import IO

import torch
from joblib import cpu_count

from ..machine import processor, version
from .files import locked
from .plan import Run
from .record import LOCK, LOG, SCORES, Record, checked_record

GUARD = Path(__file__).with_name("guard.py")
GPUS = "CUDA_VISIBLE_DEVICES"  # the variable


class Stopped(Exception):
    """`Recipes.stop` was called while a recipe ran, or before it."""


class Recipes:
    """Programs of recipes, which end with this process and can be stopped together."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen] = set()
        self._change = threading.Lock()
        self._stopped = False

    def call(
        self,
        command: list[str],
        log: IO[bytes],
        inherited: int | None,
        variables: Mapping[str, str],
    ) -> int:
        """Run a recipe, and return its exit status.

        Args:
            command: the command line.
            log: a file for all that it prints.
            inherited: a file that it and its children keep open.
            variables: environment variables beside those of this process. The recipe takes fairseq
                from the environment of this process, unless $VENV names another.
        """
        ours = {"VENV": sys.prefix} if Path(sys.prefix, "bin", "fairseq-train").is_file() else {}
        with self._change:
            if self._stopped:
                raise Stopped
            process = subprocess.Popen(
                [sys.executable, "-I", str(GUARD), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**ours, **os.environ, **variables},
                pass_fds=[] if inherited is None else [inherited],
                start_new_session=True,
            )
            self._running.add(process)
        try:
            process.wait()
        finally:  # also after Ctrl-C
            _end(process)
            self._running.discard(process)
        if self._stopped:
            raise Stopped
        return process.returncode

    def stop(self) -> None:
        """End all recipes; none starts after this."""
        with self._change:
            self._stopped = True
        for process in list(self._running):
            _end(process)


def _end(process: subprocess.Popen) -> None:
    assert process.stdin is not None
    process.stdin.close()  # which its guard waits for
    process.wait()


def execute(run: Run, recipes: Recipes, variables: Mapping[str, str] | None = None) -> None:
    """Do a run, unless it is finished. Its record says how it ended.

    It waits for a process of an earlier study that is still in its folder.

    Args:
        run: the run.
        recipes: starts the recipe.
        variables: environment variables that give it its share of this machine; see `share`.

    Raises:
        Stopped: the recipe was stopped.
        ValueError: the run was made with other options.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    variables = variables or {}
    with locked(run.folder / LOCK) as file:
        before = checked_record(run)
        if before is not None and before.is_finished(run.folder):
            return
        now = datetime.now().isoformat(timespec="seconds")
        record = Record(run.command(), run.task.written, started=now, began=now)
        record.machine, record.version = _machine(run), version()
        if before is not None:
            record.seconds = _seconds(before, run.folder / LOG)
            record.began = before.began
            record.machine = _then(before.machine, record.machine)
            record.version = _then(before.version, record.version)
        record.write(run.folder)
        begun, earlier = time.monotonic(), record.seconds
        with (run.folder / LOG).open("ab") as log:
            log.write(f"$ {shlex.join(record.command)}\n".encode())
            log.flush()
            status = recipes.call(record.command, log, file, variables)
        record.state = "finished" if status == 0 else "failed"
        record.scores = [name for name in SCORES if (run.folder / name).is_file()]
        record.seconds = earlier + time.monotonic() - begun
        record.write(run.folder)


def _then(before: str, now: str) -> str:
    return before if before.split(", then ")[-1] == now else f"{before}, then {now}"


def _seconds(record: Record, log: Path) -> float:
    """The time that a run has taken, up to the last line of its log if it was interrupted."""
    if record.state != "running" or not log.is_file():
        return record.seconds
    started = datetime.fromisoformat(record.started).timestamp()
    return record.seconds + max(log.stat().st_mtime - started, 0)


def _machine(run: Run) -> str:
    on_gpu = torch.cuda.is_available() and not on_cpu(run)
    name = torch.cuda.get_device_name() if on_gpu else processor()
    return f"{name}, torch {torch.__version__}"


# The cores and GPUs of this machine


def on_cpu(run: Run) -> bool:
    """Whether the options of a run keep it from the GPUs."""
    return run.options.get("gpus") == "0" or bool({"cpu", "cpu-processes"} & run.options.keys())


def processes(run: Run) -> int:
    """The number of processes of a run on the CPU."""
    each = str(run.options.get("cpu-processes", 1))
    return max(int(each), 1) if each.isdecimal() else 1  # the recipe reports other values


def default_jobs(runs: list[Run]) -> int:
    """The number of GPUs, or if no run takes one, of runs that have a core for each process."""
    gpus = torch.cuda.device_count()
    if gpus and not all(map(on_cpu, runs)):
        return gpus
    return max(cpu_count() // max(map(processes, runs)), 1)


def share(run: Run, slot: int, jobs: int) -> dict[str, str]:
    """The variables that give a run its GPU, and each of its processes an equal share of the cores.

    They do not replace the user's own OMP_NUM_THREADS.

    Args:
        run: the run.
        slot: a number below `jobs` that no other run has at the same time.
        jobs: number of runs at a time.
    """
    variables = {}
    if (gpus := torch.cuda.device_count()) and not on_cpu(run):
        visible = os.environ.get(GPUS, ",".join(map(str, range(gpus))))
        variables[GPUS] = visible.split(",")[slot % gpus]
    if "OMP_NUM_THREADS" not in os.environ:
        variables["OMP_NUM_THREADS"] = str(max(cpu_count() // (jobs * processes(run)), 1))
    return variables
