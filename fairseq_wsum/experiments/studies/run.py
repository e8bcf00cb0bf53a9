"""One run of a study: a recipe in a process of its own."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO

import torch
from joblib import cpu_count

from ...machine import processor, version
from ..locks import lock
from .plan import Run
from .record import LOCK, LOG, SCORES, Record, read_record, settings


async def locked(path: Path) -> IO[str]:
    """`lock` a file, once no other process holds it."""
    while True:
        with suppress(TimeoutError):
            return lock(path, patience=0)
        await asyncio.sleep(0.2)


async def call(
    command: Sequence[str],
    log: IO[bytes],
    inherited: IO[str],
    variables: Mapping[str, str] | None = None,
) -> int:
    """Run a recipe, and return its exit status. It ends if this task is cancelled.

    It has a process group of its own, so that Ctrl-C does not reach it. It and its children keep
    the file `inherited` open. It takes fairseq from the environment of this process, unless $VENV
    names another; `variables` are added to those of this process.
    """
    ours = {"VENV": sys.prefix} if Path(sys.prefix, "bin", "fairseq-train").is_file() else {}
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=log,
            stderr=STDOUT,
            env={**ours, **os.environ, **(variables or {})},
            pass_fds=[inherited.fileno()],
            process_group=0,
        )
    )
    try:
        process = await asyncio.shield(starting)  # asyncio kills what is cancelled while it starts
        return await process.wait()
    except OSError as error:  # it cannot be executed
        log.write(f"{error}\n".encode())
        return 127
    except BaseException:  # the study, or the job of Slurm, is stopped
        process = await starting
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()
        raise


async def execute(run: Run, variables: Mapping[str, str] | None = None) -> None:
    """Do a run, unless it is finished. Its record says how it ended.

    It waits for a process of an earlier study that is still in its folder. The variables are those
    of `share`.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with await locked(run.folder / LOCK) as file, (run.folder / LOG).open("ab") as log:
        before = read_record(run)
        if before is not None and before.is_finished(run.folder):
            return
        now, begun = datetime.now().isoformat(timespec="seconds"), time.monotonic()
        on_gpu = torch.cuda.is_available() and not on_cpu(run)
        machine = torch.cuda.get_device_name() if on_gpu else processor()
        machine += f", torch {torch.__version__}"
        record = Record(run.command(), settings(run), "running", now, now, 0, machine, version())
        if before is not None:
            record.began, record.seconds = before.began, before.seconds
            if before.state == "running":  # it was interrupted after the last line of its log
                started = datetime.fromisoformat(before.started).timestamp()
                record.seconds += max(os.fstat(log.fileno()).st_mtime - started, 0)
            record.machine = _then(before.machine, record.machine)
            record.version = _then(before.version, record.version)
        record.write(run.folder)
        log.write(f"$ {shlex.join(record.command)}\n".encode())
        log.flush()
        status = await call(record.command, log, file, variables)
        record.scores = [name for name in SCORES if (run.folder / name).is_file()]
        if status == 0 and not record.scores:
            log.write(f"error: the recipe left no {', '.join(SCORES)} in --run\n".encode())
        record.state = "finished" if status == 0 and record.scores else "failed"
        record.seconds += time.monotonic() - begun
        record.write(run.folder)


def _then(before: str, now: str) -> str:
    return before if before.split(", then ")[-1] == now else f"{before}, then {now}"


# The cores and GPUs of this machine


def on_cpu(run: Run) -> bool:
    """Whether the options of a run keep it from the GPUs."""
    return run.options.get("gpus") == "0" or bool({"cpu", "cpu-processes"} & run.options.keys())


def number(run: Run, option: str) -> int:
    """The value of `gpus` or `cpu-processes`, by default 1."""
    given = str(run.options.get(option, 1))
    return max(int(given), 1) if given.isdecimal() else 1  # the recipe reports other values


def default_jobs(runs: Sequence[Run]) -> int:
    """The number of runs that have their GPUs; if none takes one, a core for each process."""
    gpus = torch.cuda.device_count()
    if gpus and not all(map(on_cpu, runs)):
        return max(gpus // max(number(run, "gpus") for run in runs), 1)
    return max(cpu_count() // max(number(run, "cpu-processes") for run in runs), 1)


def share(run: Run, slot: int, jobs: int) -> dict[str, str]:
    """The variables that give a run its GPUs, and its processes equal shares of the cores.

    They do not replace the user's own OMP_NUM_THREADS. No other run has the same `slot`, a number
    below `jobs`, at the same time.
    """
    variables = {}
    own, gpus = number(run, "gpus"), torch.cuda.device_count()
    if own <= gpus and not on_cpu(run):  # the recipe reports that there are too few
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        first = slot * max(gpus // jobs, own)
        chosen = [visible[k % gpus] for k in range(first, first + own)]
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
    if "OMP_NUM_THREADS" not in os.environ:
        threads = cpu_count() // (jobs * number(run, "cpu-processes"))
        variables["OMP_NUM_THREADS"] = str(max(threads, 1))
    return variables
