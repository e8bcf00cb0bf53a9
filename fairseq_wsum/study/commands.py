"""What `fairseq-wsum study` and `fairseq-wsum report` do."""

from __future__ import annotations

import argparse
import io
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch

from . import launch
from .owner import check_owner, set_owner
from .plan import Plan, Run, prepare_command
from .plan_file import read_plan
from .progress import Watch
from .record import LOG, finished_record, last_lines, read_log, read_record
from .report import write_report
from .requirements import check_one_gpu, check_requirements
from .run import LOCK, call, check_locks, cores, hold, on_cpu, processes, state

REPORT = "report"  # the folder of the report, in that of the study


def _plan(args: argparse.Namespace) -> Plan:
    if not args.file.expanduser().is_file():
        raise ValueError(f"{args.file}: no such file; give the YAML file of a study")
    plan = read_plan(args.file, args.out or Path("runs", "studies", args.file.stem))
    if plan.out.exists() and not plan.out.is_dir():
        raise ValueError(f"--out {plan.out} is a file: give a folder")
    for option, path in (("FILE", plan.file), ("--out", plan.out)):
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{option} {str(path)!a}: the path is not UTF-8, as the report is; rename it"
            ) from error
    for name in (*(task.name for task in plan.tasks), REPORT):
        if (plan.out / name).is_file():
            raise ValueError(
                f"{plan.out / name} is a file, where this study has a folder: move it elsewhere, "
                "or give another folder with --out"
            )
    if args.out is None:
        check_owner(plan.out, plan.file, "give another folder with --out")
    return plan


def study(args: argparse.Namespace) -> None:
    """Do the runs that are not finished.

    Raises:
        ValueError: the study or an option is wrong, its folder belongs to another study, or a
            run finished, or validated an epoch, with other options.
        OSError: the folder has no locks.
        RuntimeError: data could not be prepared, or runs failed.
    """
    plan = _plan(args)
    _print_any_letter()
    todo = [run for run in plan.runs if finished_record(run) is None]
    check_requirements(plan.file, todo)
    if args.launcher != "submitit_slurm":
        check_one_gpu(plan)
    if "${" in str(plan.out):
        raise ValueError(f"--out {plan.out}: hydra reads '${{' as its own; give a path without it")
    if args.launcher == "submitit_slurm":
        jobs = args.jobs or max(len(todo), 1)
    else:
        # Not by the runs that are left: one that goes on keeps its share of the cores, as another
        # number of threads rounds in another way.
        jobs = min(args.jobs or _default_jobs(plan), len(plan.runs))
    options = args.launcher_option
    launch.check_launcher(args.launcher, options)
    if args.dry_run and (args.launcher != "submitit_slurm" or not todo):
        for run in todo:
            print(shlex.join(run.command()))
        if not todo:
            _say("all runs are finished")
        return
    if args.dry_run:
        print(launch.slurm_jobs(plan, todo, jobs, options))
        return
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out {plan.out}: {error.strerror}; give another folder") from error
    if args.out is None:
        set_owner(plan.out, plan.file)
    if todo:
        check_locks(plan.out)
        _stop_on_signals()
        try:
            _prepare(todo)
            at_a_time = f"{min(jobs, len(todo))} at a time"
            _say(f"{len(todo)} of {len(plan.runs)} runs to do, {at_a_time}, in {plan.out}")
            with Watch(plan, _say):
                _launch(plan, todo, args.launcher, jobs, options)
        except KeyboardInterrupt as interrupt:
            _say(str(interrupt) or "stopped; the same command continues the study")
            sys.exit(128 + signal.SIGINT)
    _end(plan)


def _launch(
    plan: Plan, runs: Sequence[Run], launcher: str, jobs: int, options: Sequence[str]
) -> None:
    """Do the runs. If a worker of joblib dies, which ends them all, do what is left again."""
    for again in (False, True):
        if again:
            _say("some runs have no end, as after a worker's death: starting them again")
        before = {run.name: _started(run) for run in runs}
        with suppress(SystemExit):  # hydra has printed an error of a job
            launch.launch(plan, runs, launcher, jobs, options)
        tried = {run.name for run in runs if _started(run) != before[run.name]}
        if launcher != "joblib" or not tried:  # none could start
            return
        # A run that failed in an earlier study, and was not tried in this one, is still to be done.
        over = {run.name for run in runs if state(run) in ("finished", "failed")} & tried
        runs = [run for run in runs if run.name not in over]
        if not runs:
            return


def _started(run: Run) -> str:
    record = read_record(run.folder)
    return record.started if record else ""


def _stop_on_signals() -> None:
    """Let SIGTERM, and SIGHUP when the terminal is closed, stop this process as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, signal.default_int_handler)


def _default_jobs(plan: Plan) -> int:
    """The number of GPUs, or if no run takes one, of those that have a core for each process."""
    gpus = torch.cuda.device_count()
    if gpus and not all(map(on_cpu, plan.runs)):
        return gpus
    return max(cores() // max(map(processes, plan.runs)), 1)


def _prepare(runs: Sequence[Run]) -> None:
    """Make the data of the tasks of some runs, unless they are there."""
    for task, folder in {run.task.name: (run.task, run.out) for run in runs}.values():
        folder.mkdir(parents=True, exist_ok=True)
        command = prepare_command(task, folder)
        log = folder / "prepare.log"
        waits = f"{task.name}: waiting for another study that prepares data in {folder}"
        with hold(folder / LOCK, partial(_say, waits)) as lock, log.open("wb") as file:
            _say(f"{task.name}: preparing the data")
            status = call(command, file, inherited=[lock])
        if status != 0:
            raise RuntimeError(
                f"{task.name}: the data could not be prepared; no training was started\n"
                f"{last_lines(log.read_text('utf-8', errors='replace'))}(full log: {log})"
            )


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
        end = last_lines(read_log(run.folder))
        log = f"(full log: {run.folder / LOG})" if end else "(it did not start)"
        _say(f"\n{how}: {run.name}\n{end}{log}")
    shown = shlex.join(["fairseq-wsum", "report", str(plan.file), "--out", str(plan.out)])
    _say(f"\n{shown}   shows the results")
    if ends:
        number = len(plan.runs)
        raise RuntimeError(
            "\n".join(
                f"{len(names)} of {number} runs {how}: {', '.join(names)}"
                for how, names in ends.items()
            )
        )


def _print_any_letter() -> None:
    """Let stdout replace letters that it lacks, such as an arrow on a terminal of Latin-1."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def report(args: argparse.Namespace) -> None:
    """Write the report: tables to stdout, and the path of its folder to stderr.

    Raises:
        ValueError: the study is wrong, its folder is not there or belongs to another study, a run
            left a damaged file or had other options, or a file of someone else is where the report
            would go.
    """
    plan = _plan(args)
    if not plan.out.is_dir():
        raise ValueError(
            f"no folder {plan.out}: no run of this study was started there; give the --out of "
            "`fairseq-wsum study` (without it, both commands take a folder in the current one)"
        )
    _print_any_letter()
    page = write_report(plan, plan.out / REPORT, print)
    _say(str(page.parent))
