"""One run of a study: a recipe in a process of its own.

One process at a time holds `.study.lock` in the folder of a run.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

import torch

from ..machine import processor, version
from .plan import Run
from .record import LOG, SCORES, Record, checked_record, has_other_options, read_record

LOCK = ".study.lock"
POLL = 0.2  # seconds
GPUS = "CUDA_VISIBLE_DEVICES"  # the variable


def state(run: Run) -> str:
    """waiting, running, interrupted, failed or finished."""
    record = read_record(run.folder)
    if record is None:
        return "waiting"
    if record.state != "running":
        return _ended(record, run)
    with _try_lock(run.folder / LOCK) as file:
        if file is None:
            return "running"
        record = read_record(run.folder)  # again, as it may have ended since
        return "interrupted" if record is None else _ended(record, run)


def _ended(record: Record, run: Run) -> str:
    """How a run has ended that no process works on."""
    if record.state == "failed" or record.is_finished(run.folder):
        return record.state
    return "interrupted"


def execute(run: Run, slots: Path | None = None, jobs: int = 1, parent: int | None = None) -> str:
    """Do a run, unless it is finished, and return the state that it ends in.

    It waits for a process of an earlier study that is still in its folder.

    Args:
        run: the run.
        slots: a folder that hands out the GPUs or cores of this machine; None on a cluster, whose
            scheduler does that.
        jobs: number of runs at a time, with `slots`.
        parent: the process that started this one, with which the recipe and this process end.

    Raises:
        ValueError: it has validated an epoch with other options.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        lock = stack.enter_context(hold(run.folder / LOCK))
        before = checked_record(run)
        if before is not None and before.is_finished(run.folder):
            return before.state
        if before is not None and has_other_options(before, run):
            before = None  # attempts that failed before their first epoch: of another training
        number = 0
        earlier = 0.0 if before is None else _seconds(before, run.folder / LOG)
        inherited = [lock]
        variables: dict[str, str] = {}
        gpus = 0 if on_cpu(run) else torch.cuda.device_count()
        if slots is not None:
            number, file = stack.enter_context(_slot(slots, jobs))
            inherited.append(file)
            variables = _share(run, number, jobs, gpus)
        record = Record(
            run.command(),
            started=datetime.now().isoformat(timespec="seconds"),
            seconds=earlier,
            machine=torch.cuda.get_device_name(number % gpus) if gpus else processor(),
            torch=torch.__version__,
            version=version(),
            paths=run.task.paths,
        )
        if before is not None:
            record.follow(before)
        record.write(run.folder)
        begun = time.monotonic()
        with (run.folder / LOG).open("ab") as log:
            log.write(f"$ {shlex.join(record.command)}\n".encode())
            log.flush()
            record.status = call(record.command, log, variables, inherited, parent)
        record.state = "finished" if record.status == 0 else "failed"
        record.scores = [name for name in SCORES if (run.folder / name).is_file()]
        record.seconds = earlier + time.monotonic() - begun
        record.write(run.folder)
        return record.state


def call(
    command: list[str],
    log: IO[bytes],
    variables: Mapping[str, str] | None = None,
    inherited: Sequence[IO[bytes]] = (),
    parent: int | None = None,
) -> int:
    """Run a recipe, and return its exit status.

    It is stopped, with all that it started, if this process is interrupted.

    Args:
        command: the command line.
        log: a file for all that it prints.
        variables: environment variables beside those of this process. The recipe takes fairseq
            from the environment of this process, unless $VENV names another.
        inherited: open files that it and its children keep open.
        parent: the parent of this process. If it ends, the recipe and this process do, too.
    """
    ours = {"VENV": sys.prefix} if Path(sys.prefix, "bin", "fairseq-train").is_file() else {}
    process = None
    try:
        with _delayed_signals():  # one before Popen returns would leave the recipe running
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**ours, **os.environ, **(variables or {})},
                pass_fds=[file.fileno() for file in inherited],
                start_new_session=True,
            )
    except OSError as error:  # the recipe cannot be executed
        log.write(f"{error}\n".encode())
        return 127
    else:
        return _wait(process, parent)
    finally:
        if process is not None:
            _stop(process)


@contextmanager
def _delayed_signals() -> Iterator[None]:
    """Handle a signal that comes within the block at its end; those ignored stay ignored."""
    if threading.current_thread() is not threading.main_thread():  # which handles all signals
        yield
        return
    delayed: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: delayed.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if callable(signal.getsignal(number))
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late in delayed:
            signal.raise_signal(late)


def _seconds(record: Record, log: Path) -> float:
    """The time that a run has taken, up to the last line of its log if it was interrupted."""
    if record.state != "running" or not log.is_file():
        return record.seconds
    started = datetime.fromisoformat(record.started).timestamp()
    return record.seconds + max(log.stat().st_mtime - started, 0)


def _wait(process: subprocess.Popen, parent: int | None) -> int:
    """Wait for the recipe, and return its exit status; end both if the parent has ended."""
    while process.poll() is None:
        if parent is not None and os.getppid() != parent:
            _stop(process)
            os._exit(1)  # a worker of joblib would wait for more work
        time.sleep(POLL)
    return process.returncode


def _stop(process: subprocess.Popen) -> None:
    """End the recipe and all that it started, which holds the slot and may outlive it."""
    with suppress(ProcessLookupError):  # the group has ended
        os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            process.poll()  # a process that was not waited for belongs to the group
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# Locks and slots. A process that is killed gives its locks back, unless a program that it started
# still runs, which inherits them.


def check_locks(folder: Path) -> None:
    """Check that the file system of a folder has locks.

    Raises:
        OSError: it has none.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise OSError(
                f"the file system of {folder} has no locks ({error.strerror}), without which two "
                "processes could do one run twice: give a folder on another with --out"
            ) from error


@contextmanager
def _try_lock(path: Path) -> Iterator[IO[bytes] | None]:
    """The open file, locked; None if another process holds the lock."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file


@contextmanager
def hold(path: Path, wait: Callable[[], None] = lambda: None) -> Iterator[IO[bytes]]:
    """The open file, locked; `wait` is called if another process holds the lock."""
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


@contextmanager
def _slot(folder: Path, jobs: int) -> Iterator[tuple[int, IO[bytes]]]:
    """A free number below `jobs`, and the file that keeps it."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        for number in range(jobs):
            with _try_lock(folder / str(number)) as file:
                if file is not None:
                    yield number, file
                    return
        time.sleep(POLL)


def on_cpu(run: Run) -> bool:
    """Whether the options of a run keep it from the GPUs."""
    options = run.task.options_of(run.model)
    return options.get("gpus") == "0" or bool({"cpu", "cpu-processes"} & options.keys())


def processes(run: Run) -> int:
    """The number of processes of a run on the CPU."""
    each = str(run.task.options_of(run.model).get("cpu-processes", 1))
    return max(int(each), 1) if each.isdecimal() else 1  # the recipe reports other values


def cores() -> int:
    """The number of cores that this process may use; a container may limit it."""
    from joblib import cpu_count

    return int(cpu_count())


def _share(run: Run, number: int, jobs: int, gpus: int) -> dict[str, str]:
    """The variables that give a run its GPU, and each of its processes an equal share of the cores.

    They do not replace the user's own OMP_NUM_THREADS.
    """
    variables = {}
    if gpus:
        visible = os.environ.get(GPUS, ",".join(map(str, range(gpus))))
        variables[GPUS] = visible.split(",")[number % gpus]
    if "OMP_NUM_THREADS" not in os.environ:
        variables["OMP_NUM_THREADS"] = str(max(cores() // (jobs * processes(run)), 1))
    return variables
