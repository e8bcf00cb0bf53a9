"""`fairseq-wsum study`: do the runs of a study, on this machine or on a cluster."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import submitit

from ...argument_types import positive
from ..program import UserError, say
from .plan import Plan, Run, add_plan, read_plan
from .record import LOCK, LOG, duration, last_lines, read_log, standing, state
from .run import call, default_jobs, execute, locked, share

DESCRIPTION = (
    "Train and score every model of a YAML file with every seed. Run it again to continue."
)


def main(given: Sequence[str]) -> None:
    """Do the runs that are not finished, with a command line."""
    parser = argparse.ArgumentParser("fairseq-wsum study", description=DESCRIPTION)
    add_plan(parser)
    add = parser.add_argument
    help = "runs at a time (default: one for each GPU, else for each core; with --slurm, all)"
    add("--jobs", type=positive, metavar="N", help=help)
    add("--dry-run", action="store_true", help="show the commands and stop")
    add("--slurm", action="store_true", help="submit the runs to Slurm, as an array of jobs")
    help = "an option of Slurm's jobs, such as partition=gpu or time=600; may be repeated"
    add("--slurm-option", action="append", default=[], metavar="NAME=VALUE", help=help)
    args = parser.parse_args(given)
    plan = read_plan(args.file, args.out)
    todo = [run for run in plan.runs if state(run) != "finished"]
    if args.dry_run:
        print("\n".join(shlex.join(run.command()) for run in todo) or "all runs are finished")
        return
    jobs = args.jobs or (len(todo) if args.slurm else default_jobs(plan.runs))
    executor = slurm(plan, args.slurm_option, jobs) if args.slurm else None
    plan.out.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(do(plan, todo, jobs, executor))
    except asyncio.CancelledError as end:
        say(str(end) or "stopped; the same command continues the study")
        sys.exit(128 + signal.SIGINT)
    _end(plan)


async def do(
    plan: Plan, runs: Sequence[Run], jobs: int, executor: submitit.Executor | None
) -> None:
    """Do some runs of a study, `jobs` at a time.

    Raises:
        CancelledError: this process was interrupted, or its terminal closed.
    """
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await prepare(runs)
    say(f"{len(runs)} of {len(plan.runs)} runs to do, {jobs} at a time, in {plan.out}")
    if executor is not None:
        await watched(plan, submit(runs, executor), say)
    else:
        # Not by the runs that are left: one that goes on keeps its share of the cores, as another
        # number of threads rounds in another way.
        await watched(plan, run_here(runs, min(jobs, len(plan.runs))), say)


async def prepare(runs: Sequence[Run]) -> None:
    """Make the data of the tasks of some runs, unless they exist."""
    for run in {run.task.name: run for run in runs}.values():
        run.out.mkdir(parents=True, exist_ok=True)
        path = run.out / "prepare.log"
        say(f"{run.task.name}: preparing the data")
        with await locked(run.out / LOCK) as file, path.open("wb") as log:
            status = await call(run.command(prepare=True), log, file)
        if status != 0:
            raise UserError(
                f"{run.task.name}: the data could not be prepared; no training was started\n"
                f"{last_lines(path.read_text('utf-8', errors='replace'))}(full log: {path})"
            )


async def run_here(runs: Sequence[Run], jobs: int) -> None:
    """Do the runs on this machine, `jobs` at a time. If this is cancelled, all recipes end first.

    Raises:
        UserError: a run was made with other options; the others are stopped.
    """
    left = iter(runs)

    async def work(slot: int) -> None:
        for run in left:  # which the slots share
            await execute(run, share(run, slot, jobs))

    try:
        async with asyncio.TaskGroup() as group:  # `gather` would not wait for the other slots
            for slot in range(jobs):
                group.create_task(work(slot))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


# Slurm


class Job(submitit.helpers.Checkpointable):
    """A run as a job, which is submitted again when it reaches its time limit."""

    def __call__(self, run: Run) -> None:
        asyncio.run(execute(run))


def slurm(plan: Plan, given: Sequence[str], jobs: int) -> submitit.Executor:
    """Slurm with the options of the command line, such as `partition=gpu`, for `jobs` at a time."""
    options: dict[str, Any] = {"additional_parameters": {}}
    for option in given:
        name, _, text = option.partition("=")
        group, dot, more = name.partition(".")  # of sbatch, which submitit does not know
        chosen = options["additional_parameters"] if dot else options
        chosen[more or group] = int(text) if text.isdecimal() else text
    again = options.pop("max_num_timeout", 0)
    try:
        executor = submitit.SlurmExecutor(plan.out / ".slurm", max_num_timeout=again)
        executor.update_parameters(**{"job_name": "study", "array_parallelism": jobs, **options})
    except (RuntimeError, ValueError) as error:
        raise UserError(str(error)) from error
    return executor


async def submit(runs: Sequence[Run], executor: submitit.Executor) -> None:
    """Submit the runs as an array of jobs, and wait for them.

    Raises:
        CancelledError: this process was interrupted. The message says that the jobs go on: they
            may have waited for hours, and the command ends with the connection to the cluster.
    """
    submitted = executor.map_array(Job(), runs)
    try:
        for job in submitted:
            await job.awaitable().wait()
            if (end := job.exception()) is not None:  # the record of its run says no end
                reason = str(end).strip().partition("\n")[0]
                say(f"job {job.job_id} died: {reason} (log: {job.paths.stderr})")
    except asyncio.CancelledError:
        arrays = sorted({str(job.job_id).partition("_")[0] for job in submitted})
        raise asyncio.CancelledError(
            "stopped waiting; the jobs stay in Slurm's queue, and `fairseq-wsum report` shows how "
            f"far they are. To start again, end them first: scancel {' '.join(arrays)}"
        ) from None


# What the user sees


def _end(plan: Plan) -> None:
    """Say how the runs ended. If some are not finished, the error names them."""
    left = []
    for run in plan.runs:
        if (how := state(run)) != "finished":
            left.append(f"{run.name} ({how})")
            log = f"(full log: {run.folder / LOG})"
            say(f"\n{how}: {run.name}\n{last_lines(read_log(run.folder))}{log}")
    shown = shlex.join(["fairseq-wsum", "report", str(plan.file), "--out", str(plan.out)])
    say(f"\n{shown}   shows the results")
    if left:
        raise UserError(f"{len(left)} of {len(plan.runs)} runs are not finished: {', '.join(left)}")


async def watched(
    plan: Plan, work: Awaitable[None], show: Callable[[str], None], interval: float = 5
) -> None:
    """Await `work`, and show a line whenever a run starts, has validated an epoch, or ends.

    It looks at the folders of the runs every `interval` seconds.
    """
    begun = time.monotonic()
    seen = before = {run.name: standing(run) for run in plan.runs}

    def look() -> None:
        nonlocal seen
        last, seen = seen, {run.name: standing(run) for run in plan.runs}
        states = Counter(now.state for now in seen.values())
        summary = f"{states['finished']} of {len(seen)} runs finished"
        if states["failed"]:
            summary += f", {states['failed']} failed"
        # Work done before this start says nothing about the current speed.
        gained = sum(now.done - before[name].done for name, now in seen.items())
        left = sum(1 - now.done for now in seen.values() if now.state != "failed")
        if gained > 0.1 and left > 0:
            seconds = left / gained * (time.monotonic() - begun)
            summary += f", about {duration(seconds)} left"
        for name, now in seen.items():
            if (now.state, now.epoch) != (last[name].state, last[name].epoch):
                show(f"{time.strftime('%H:%M:%S')}  {name}: {now}  [{summary}]")

    async def watch() -> None:
        while True:
            await asyncio.sleep(interval)
            look()

    watching = asyncio.create_task(watch())
    try:
        await work
    finally:
        watching.cancel()
        look()
