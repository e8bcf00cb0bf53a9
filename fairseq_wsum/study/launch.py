"""Give the runs of a study to one of hydra's launchers.

hydra sweeps over the names of the runs. Its launchers decide where each one goes: `joblib` keeps a
queue on this machine, `submitit_slurm` submits an array of jobs to Slurm.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hydra
import torch
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf import DictConfig

from .plan import Plan, Run
from .run import GPUS, execute

PLUGINS = {
    "joblib": "hydra_joblib_launcher",
    "submitit_local": "hydra_submitit_launcher",
    "submitit_slurm": "hydra_submitit_launcher",
}
OF_JOBS = ("n_jobs", "pre_dispatch", "array_parallelism")  # options that follow from --jobs
VERSION = "1.3"  # of hydra, whose defaults are used
A_YEAR = 366 * 24 * 60  # minutes


def check_launcher(launcher: str, options: Sequence[str] = ()) -> None:
    """Check a launcher and its options, such as `partition=gpu`.

    Raises:
        ModuleNotFoundError: hydra lacks the launcher.
        ValueError: an option is wrong.
    """
    package = PLUGINS[launcher]
    try:
        found = find_spec(f"hydra_plugins.{package}")
    except ModuleNotFoundError:  # there is no plugin at all
        found = None
    if found is None:
        name = package.replace("_", "-")
        raise ModuleNotFoundError(f"--launcher {launcher} needs a package: pip install {name}")
    if not options:
        return
    chosen = f"hydra/launcher={launcher}"
    with _version_base_kept(), hydra.initialize(version_base=VERSION, config_path=None):
        config = hydra.compose(overrides=[chosen], return_hydra_config=True)
        settings = config.hydra.launcher
        known = [str(name) for name in settings if name != "_target_"]
        for option in options:
            name, equal, _ = option.partition("=")
            first, point, _ = name.partition(".")
            if first in OF_JOBS:
                raise ValueError(f"--launcher-option {option}: the study sets it; give --jobs N")
            key_of_scalar = point and not isinstance(settings.get(first), DictConfig)
            if not equal or first not in known or key_of_scalar:
                raise ValueError(
                    f"--launcher-option {option}: write NAME=VALUE; {launcher} has the options "
                    f"{', '.join(known)}"
                )
            try:
                hydra.compose(overrides=[chosen, *overrides([option])], return_hydra_config=True)
            except HydraException as error:
                reason = str(error.__cause__ or error).splitlines()[0]
                if "," in option:
                    reason += f" (quote a value with a comma: {name}='a,b')"
                raise ValueError(f"--launcher-option {option}: {reason}") from error


def overrides(options: Sequence[str]) -> list[str]:
    """hydra's overrides for options of the launcher.

    Those with a point, such as `additional_parameters.mail-type=END`, are keys that hydra does not
    know yet.
    """
    added = ["++" if "." in option.partition("=")[0] else "" for option in options]
    return [f"{plus}hydra.launcher.{option}" for plus, option in zip(added, options, strict=True)]


def launch(
    plan: Plan,
    runs: Sequence[Run],
    launcher: str,
    jobs: int,
    options: Sequence[str] = (),
    folder: Path | None = None,
) -> None:
    """Do the runs, and return when all have ended.

    Args:
        plan: the study.
        runs: those of its runs that are not finished.
        launcher: a key of PLUGINS.
        jobs: number of runs at a time; Slurm's `array_parallelism`.
        options: of the launcher, such as `partition=gpu`.
        folder: for the launcher's files; by default in the folder of the study.

    Raises:
        KeyboardInterrupt: this process was interrupted. The runs have been stopped; if they are
            Slurm's, its message says that they go on.
    """
    settings = {
        # With n_jobs=1 joblib would run the recipes in this process, and nothing would end them if
        # this process is killed. With pre_dispatch=1 its workers get one run at a time.
        "joblib": [f"n_jobs={jobs}"] if jobs > 1 else ["n_jobs=2", "pre_dispatch=1"],
        "submitit_local": [
            "name=study",
            f"timeout_min={A_YEAR}",
            f"gpus_per_node={torch.cuda.device_count()}",  # of which `_slot` gives one to each run
        ],
        "submitit_slurm": ["name=study", f"array_parallelism={jobs}"],
    }
    folder = folder or _files(plan)
    folder.mkdir(parents=True, exist_ok=True)
    # The file of the study may change before the last job starts. Jobs of submitit that wait for
    # their turn need the plan even after this command has ended. `job` reads what is written here.
    with tempfile.NamedTemporaryFile(
        dir=folder, prefix="plan-", delete=launcher == "joblib"
    ) as checked:
        pickle.dump((plan, set(os.environ), os.environ.get(GPUS)), checked)
        checked.flush()
        os.fsync(checked.fileno())
        arguments = [
            "fairseq-wsum study",
            "--multirun",
            f"hydra/launcher={launcher}",
            *overrides(settings[launcher]),
            f"hydra.sweep.dir={_quoted(folder)}",
            "hydra.sweep.subdir=${hydra.job.num}",
            "hydra.output_subdir=null",  # the run's folder has it all
            "hydra/hydra_logging=disabled",
            "hydra/job_logging=disabled",
            f"+plan={_quoted(checked.name)}",
            f"+launcher={launcher}",
            f"+jobs={jobs}",
            f"+run={','.join(_quoted(run.name) for run in runs)}",
            *overrides(options),
        ]
        waiting = nullcontext() if launcher == "joblib" else _waiting_for_all(launcher)
        with waiting, _version_base_kept(), patch.object(sys, "argv", arguments):
            hydra.main(version_base=VERSION, config_path=None)(job)()


@contextmanager
def _version_base_kept() -> Iterator[None]:
    """Restore hydra's version base, which holds for the whole process.

    With base 1.2 or later, fairseq's own commands cannot run in this process: they use
    hydra.experimental.
    """
    version = VersionBase.instance()
    before = version.version_base
    try:
        yield
    finally:
        version.version_base = before


@contextmanager
def _waiting_for_all(launcher: str) -> Iterator[None]:
    """Let hydra's plugin wait for all jobs of submitit; it would end with the first that dies.

    An interrupt may not reach the jobs, so those of this machine are cancelled here. Slurm's go on:
    they may have waited for hours, and the command may end with the connection to the cluster.
    """
    import submitit

    jobs: list[Any] = []
    submit = submitit.AutoExecutor.map_array

    def submit_and_keep(executor: Any, *arguments: Any) -> list[_Job]:
        jobs.extend(submit(executor, *arguments))
        return [_Job(one) for one in jobs]

    try:
        with patch.object(submitit.AutoExecutor, "map_array", submit_and_keep):
            yield
    except KeyboardInterrupt:
        if launcher == "submitit_local":
            for one in jobs:
                one.cancel()
            raise
        if not jobs:
            raise
        arrays = sorted({str(one.job_id).partition("_")[0] for one in jobs})
        raise KeyboardInterrupt(
            "stopped waiting; the jobs stay in Slurm's queue, and `fairseq-wsum report` shows how "
            f"far they are. To start again, end them first: scancel {' '.join(arrays)}"
        ) from None


@dataclass(frozen=True)
class _Job:
    """A job of submitit, as hydra's plugin sees it: a dead one has a result, too."""

    job: Any

    def results(self) -> list[JobReturn]:
        try:
            found: list[JobReturn] = self.job.results()
        except Exception as error:  # submitit knows several; the run's folder shows how it ended
            reason = str(error).strip().partition("\n")[0]
            log = self.job.paths.stderr
            print(f"job {self.job.job_id} died: {reason} (log: {log})", file=sys.stderr, flush=True)
            return [JobReturn(status=JobStatus.COMPLETED, _return_value="died")]
        return found


def slurm_jobs(plan: Plan, runs: Sequence[Run], jobs: int, options: Sequence[str] = ()) -> str:
    """What `launch` would submit to Slurm: the script for sbatch, and the run of each array task.

    submitit makes the script and gives it to a stand-in for sbatch, which keeps it and fails.

    Raises:
        RuntimeError: submitit made no script.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "submission.sh"
        stand_ins = {"srun": "exit 1", "sbatch": f'cp "$1" {shlex.quote(str(script))}; exit 1'}
        for program, line in stand_ins.items():
            (folder / program).write_text(f"#!/bin/sh\n{line}\n")
            (folder / program).chmod(0o755)
        path, errors = f"{folder}{os.pathsep}{os.environ['PATH']}", io.StringIO()
        stopped = suppress(SystemExit, Exception)
        with stopped, patch.dict(os.environ, PATH=path), redirect_stderr(errors):
            launch(plan, runs, "submitit_slurm", jobs, options, folder / "hydra")
        if not script.is_file():
            raise RuntimeError(f"submitit made no job:\n{errors.getvalue().strip()}")
        text = script.read_text().replace(str(folder / "hydra"), str(_files(plan)))
    tasks = [f"# {i}: {shlex.join(run.command())}" for i, run in enumerate(runs)]
    return "\n".join([text.rstrip(), "", "# tasks of the array:", *tasks])


def job(config: DictConfig) -> str:
    """One job of the sweep: do the run that `config.run` names, and return its state."""
    plan: Plan
    plan, variables, gpus = pickle.loads(Path(config.plan).read_bytes())
    run = next(run for run in plan.runs if run.name == config.run)
    if config.launcher == "joblib":
        # joblib sets the numbers of threads of its workers, which are not meant for a recipe.
        for name in os.environ.keys() - variables:
            del os.environ[name]
        # The command itself ends when the terminal is closed, and then this process does.
        signal.signal(signal.SIGHUP, lambda *_: None)
    elif config.launcher == "submitit_local":
        # submitit numbers the GPUs from 0, whichever the user has chosen.
        os.environ.pop(GPUS, None)
        if gpus is not None:
            os.environ[GPUS] = gpus
    slots = None if config.launcher == "submitit_slurm" else plan.out / ".slots"
    return execute(run, slots, config.jobs, os.getppid())


def _files(plan: Plan) -> Path:
    """Where hydra and its launchers keep their own files."""
    return plan.out / ".hydra"


def _quoted(text: str | Path) -> str:
    """Text in quotes, in hydra's grammar: a backslash is special before a quote only."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", str(text))
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"
