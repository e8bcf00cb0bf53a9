"""Give the runs of a study to one of hydra's launchers.

hydra sweeps over the names of the runs. Its launchers decide where each one goes: `joblib` keeps a
queue on this machine, `submitit_slurm` submits an array of jobs to Slurm.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, suppress
from importlib.util import find_spec
from pathlib import Path

import hydra
from omegaconf import DictConfig

from .plan import Plan, Run, read_plan
from .run import execute

PLUGINS = {
    "joblib": "hydra_joblib_launcher",
    "submitit_local": "hydra_submitit_launcher",
    "submitit_slurm": "hydra_submitit_launcher",
}


def check_launcher(launcher: str) -> None:
    """Raises ModuleNotFoundError if hydra lacks the launcher."""
    package = PLUGINS[launcher]
    if find_spec(f"hydra_plugins.{package}") is None:
        name = package.replace("_", "-")
        raise ModuleNotFoundError(f"--launcher {launcher} needs a package: pip install {name}")


def launch(
    plan: Plan,
    runs: Sequence[Run],
    launcher: str,
    jobs: int,
    overrides: Sequence[str] = (),
    folder: Path | None = None,
) -> None:
    """Do the runs, and return when all have ended.

    Args:
        plan: the study.
        runs: those of its runs that are not finished.
        launcher: a key of PLUGINS.
        jobs: number of runs at a time; Slurm's `array_parallelism`.
        overrides: hydra's overrides, such as `hydra.launcher.partition=gpu`.
        folder: for the launcher's files; by default in the folder of the study.
    """
    here = launcher == "joblib"
    settings: dict[str, object] = {
        "hydra/launcher": launcher,
        "hydra.sweep.dir": folder or _files(plan),
        "hydra.sweep.subdir": "${hydra.job.num}",
        "hydra.output_subdir": "null",  # the run's folder has it all
        "hydra/hydra_logging": "disabled",
        "hydra/job_logging": "disabled",
        "+file": plan.file,
        "+out": plan.out,
        "+jobs": jobs if here else 0,
        "+run": [run.name for run in runs],
    }
    if here:
        settings["hydra.launcher.n_jobs"] = jobs
    else:
        settings["hydra.launcher.name"] = "study"
    if launcher == "submitit_slurm":
        settings["hydra.launcher.array_parallelism"] = jobs
    sys.argv = ["fairseq-wsum study", "--multirun", *_overrides(settings), *overrides]
    hydra.main(version_base="1.3", config_path=None)(job)()


def slurm_jobs(plan: Plan, runs: Sequence[Run], jobs: int, overrides: Sequence[str] = ()) -> str:
    """What `launch` would submit to Slurm: the script for sbatch, and the run of each array task.

    submitit makes the script and gives it to a stand-in for sbatch, which keeps it and fails.

    Raises:
        RuntimeError: submitit made no script, as an override is wrong, say.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "submission.sh"
        stand_ins = {"srun": "exit 1", "sbatch": f'cp "$1" {shlex.quote(str(script))}; exit 1'}
        for program, line in stand_ins.items():
            (folder / program).write_text(f"#!/bin/sh\n{line}\n")
            (folder / program).chmod(0o755)
        before, errors = os.environ["PATH"], io.StringIO()
        os.environ["PATH"] = f"{folder}{os.pathsep}{before}"
        try:
            with redirect_stderr(errors), suppress(SystemExit, Exception):
                launch(plan, runs, "submitit_slurm", jobs, overrides, folder / "hydra")
        finally:
            os.environ["PATH"] = before
        if not script.is_file():
            raise RuntimeError(f"submitit made no job:\n{errors.getvalue().strip()}")
        text = script.read_text().replace(str(folder / "hydra"), str(_files(plan)))
    tasks = [f"# {i}: {shlex.join(run.command())}" for i, run in enumerate(runs)]
    return "\n".join([text.rstrip(), "", "# tasks of the array:", *tasks])


def job(config: DictConfig) -> str:
    """One job of the sweep: do the run that `config.run` names, and return its state."""
    plan = read_plan(Path(config.file), Path(config.out))
    run = next((run for run in plan.runs if run.name == config.run), None)
    if run is None:
        raise ValueError(f"{plan.file} was changed: it has no run {config.run} any more")
    slots = plan.out / ".slots" if config.jobs else None
    return execute(run, slots, config.jobs)


def _files(plan: Plan) -> Path:
    """Where hydra and its launchers keep their own files."""
    return plan.out / ".hydra"


def _overrides(settings: Mapping[str, object]) -> list[str]:
    """Settings in hydra's grammar, with text in quotes. A list is swept over."""
    lines = []
    for key, value in settings.items():
        if isinstance(value, list):
            text = ",".join(map(_quoted, value))
        elif isinstance(value, Path):
            text = _quoted(str(value))
        else:
            text = str(value)
        lines.append(f"{key}={text}")
    return lines


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
