"""`fairseq-wsum study`: do the runs of a study, on this machine or on a cluster."""

from __future__ import annotations

import argparse
import re
import shlex
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import submitit

from .files import handle_ends, locked, say
from .plan import Plan, Run, prepare_command, read_plan
from .record import (
    LOCK,
    LOG,
    Standing,
    check_owner,
    checked_record,
    duration,
    last_lines,
    read_log,
    standing,
    state,
)
from .run import Recipes, default_jobs, execute, share


def study(args: argparse.Namespace) -> None:
    """Do the runs that are not finished.

    Raises:
        ValueError: the study or an option is wrong, or a run has other options.
        RuntimeError: data could not be prepared, or runs failed.
    """
    plan = read_plan(args.file, args.out or Path("runs", "studies", args.file.stem))
    for task in plan.tasks:
        for key, path in (("recipe", task.recipe), ("data", task.data)):
            if path is not None and not path.exists():
                raise ValueError(
                    f"{plan.file}: tasks: {task.name}: {key}: no {path}; the path is relative to "
                    "the study's file"
                )
    options = _slurm_options(args.slurm_option)
    if args.out is None and not args.dry_run:
        plan.out.mkdir(parents=True, exist_ok=True)
        check_owner(plan)
    todo = [run for run in plan.runs if not _is_finished(run)]
    if args.dry_run:
        print("\n".join(shlex.join(run.command()) for run in todo) or "all runs are finished")
        return
    jobs = args.jobs or (len(todo) if args.slurm else default_jobs(plan.runs))
    if todo:
        handle_ends(signal.default_int_handler)
        try:
            _prepare(todo)
            say(f"{len(todo)} of {len(plan.runs)} runs to do, {jobs} at a time, in {plan.out}")
            with Watch(plan, say):
                if args.slurm:
                    submit(plan, todo, jobs, options)
                else:
                    # Not by the runs that are left: one that goes on keeps its share of the cores,
                    # as another number of threads rounds in another way.
                    run_here(todo, min(jobs, len(plan.runs)))
        except KeyboardInterrupt as interrupt:
            say(str(interrupt) or "stopped; the same command continues the study")
            sys.exit(128 + signal.SIGINT)
    _end(plan)


def _is_finished(run: Run) -> bool:
    record = checked_record(run)
    return record is not None and record.is_finished(run.folder)


def _prepare(runs: Sequence[Run]) -> None:
    """Make the data of the tasks of some runs, unless they exist."""
    for task, folder in {run.task.name: (run.task, run.out) for run in runs}.values():
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "prepare.log"
        waits = f"{task.name}: waiting for another study that prepares data in {folder}"
        with locked(folder / LOCK, waiting=waits) as file:
            say(f"{task.name}: preparing the data")
            with path.open("wb") as log:
                status = Recipes().call(prepare_command(task, folder), log, file, {})
        if status != 0:
            raise RuntimeError(
                f"{task.name}: the data could not be prepared; no training was started\n"
                f"{last_lines(path.read_text('utf-8', errors='replace'))}(full log: {path})"
            )


def run_here(runs: Sequence[Run], jobs: int) -> None:
    """Do the runs on this machine, `jobs` at a time."""
    recipes = Recipes()
    slots: SimpleQueue[int] = SimpleQueue()
    for slot in range(jobs):
        slots.put(slot)

    def do(run: Run) -> None:
        slot = slots.get()
        try:
            execute(run, recipes, share(run, slot, jobs))
        finally:
            slots.put(slot)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for done in as_completed([pool.submit(do, run) for run in runs]):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            recipes.stop()
            raise


# Slurm


class Job(submitit.helpers.Checkpointable):
    """A run as a job, which is submitted again when it reaches its time limit."""

    def __call__(self, run: Run) -> None:
        execute(run, Recipes())


def submit(
    plan: Plan, runs: Sequence[Run], jobs: int, options: dict[str, Any], cluster: str = "slurm"
) -> None:
    """Submit the runs as an array of jobs, and wait for them.

    Args:
        plan: the study.
        runs: those of its runs to do.
        jobs: number of jobs at a time.
        options: of submitit, by name.
        cluster: submitit's name of the cluster.

    Raises:
        KeyboardInterrupt: this process was interrupted. The message says that the jobs go on: they
            may have waited for hours, and the command ends with the connection to the cluster.
        ValueError: an option is wrong.
    """
    again = {f"{cluster}_max_num_timeout": options.pop("max_num_timeout", 0)}
    executor = submitit.AutoExecutor(plan.out / ".slurm", cluster=cluster, **again)
    try:
        executor.update_parameters(name="study", slurm_array_parallelism=jobs, **options)
    except (NameError, TypeError, ValueError) as error:
        raise ValueError(f"--slurm-option: {error}") from error
    submitted = executor.map_array(Job(), runs)
    try:
        for job in submitted:
            if (end := job.exception()) is not None:  # the record of its run says no end
                reason = str(end).strip().partition("\n")[0]
                say(f"job {job.job_id} died: {reason} (log: {job.paths.stderr})")
    except KeyboardInterrupt:
        arrays = sorted({str(job.job_id).partition("_")[0] for job in submitted})
        raise KeyboardInterrupt(
            "stopped waiting; the jobs stay in Slurm's queue, and `fairseq-wsum report` shows how "
            f"far they are. To start again, end them first: scancel {' '.join(arrays)}"
        ) from None


def _slurm_options(given: Sequence[str]) -> dict[str, Any]:
    """The options of submitit, from those of the command line, such as `partition=gpu`."""
    of_all = ("mem_gb", "nodes", "timeout_min", "tasks_per_node", "cpus_per_task", "gpus_per_node")
    found: dict[str, Any] = {}
    for option in given:
        name, equal, text = option.partition("=")
        if not equal or name in ("name", "array_parallelism"):
            raise ValueError(
                f"--slurm-option {option}: write NAME=VALUE; --jobs sets the number at a time"
            )
        value = int(text) if re.fullmatch(r"\d+", text) else text
        if name.startswith("additional_parameters."):  # of sbatch, which submitit does not know
            more = found.setdefault("slurm_additional_parameters", {})
            more[name.partition(".")[2]] = value
        else:
            of_submitit = name in of_all or name == "max_num_timeout"
            found[name if of_submitit else f"slurm_{name}"] = value
    return found


# What the user sees


def _end(plan: Plan) -> None:
    """Say how the runs ended.

    Raises:
        RuntimeError: some failed or were not finished; the message names them.
    """
    ends: dict[str, list[str]] = {}
    for run in plan.runs:
        if (how := state(run)) == "finished":
            continue
        ends.setdefault("failed" if how == "failed" else "are not finished", []).append(run.name)
        log = f"(full log: {run.folder / LOG})"
        say(f"\n{how}: {run.name}\n{last_lines(read_log(run.folder))}{log}")
    shown = shlex.join(["fairseq-wsum", "report", str(plan.file), "--out", str(plan.out)])
    say(f"\n{shown}   shows the results")
    if ends:
        raise RuntimeError(
            "\n".join(
                f"{len(names)} of {len(plan.runs)} runs {how}: {', '.join(names)}"
                for how, names in ends.items()
            )
        )


class Watch:
    """Prints a line whenever a run starts, has validated an epoch, or ends, in a thread.

    Args:
        plan: the study.
        show: prints a line.
        interval: seconds between two looks at the folders.
    """

    def __init__(self, plan: Plan, show: Callable[[str], None], interval: float = 2) -> None:
        self.plan, self.show, self.interval = plan, show, interval
        self.begun = time.monotonic()
        self.before = {run.name: standing(run) for run in plan.runs}
        self.seen = {name: was for name, was in self.before.items() if was.state == "finished"}
        self.end = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.thread.join()
        self.look()

    def _watch(self) -> None:
        while not self.end.wait(self.interval):
            self.look()

    def look(self) -> None:
        """Print what has changed since the last look."""
        for run in self.plan.runs:
            was, now = self.seen.get(run.name), standing(run)
            if was is None and now == self.before[run.name] and now.state != "running":
                continue  # it has not started
            self.seen[run.name] = now
            if was is None or (now.state, now.epoch) != (was.state, was.epoch):
                self.show(f"{time.strftime('%H:%M:%S')}  {run.name}: {now}  [{self._summary()}]")

    def _summary(self) -> str:
        """Such as "2 of 6 runs finished, 1 failed, about 12 min left"."""
        states = Counter(now.state for now in self.seen.values())
        parts = [f"{states['finished']} of {len(self.plan.runs)} runs finished"]
        if states["failed"]:
            parts.append(f"{states['failed']} failed")
        # Work done before this start says nothing about the current speed.
        gained = sum(now.done - self.before[name].done for name, now in self.seen.items())
        left = sum(1 - self._now(run).done for run in self.plan.runs if not self._has_failed(run))
        if gained > 0.1 and left > 0:
            rate = gained / (time.monotonic() - self.begun)
            parts.append(f"about {duration(left / rate)} left")
        return ", ".join(parts)

    def _now(self, run: Run) -> Standing:
        return self.seen.get(run.name, self.before[run.name])

    def _has_failed(self, run: Run) -> bool:
        return run.name in self.seen and self.seen[run.name].state == "failed"
