"""The command lines of `fairseq-wsum study` and `fairseq-wsum report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

from ..argument_types import positive

STUDY = "train and score every model of a YAML file with every seed; run it again to continue"
REPORT = "make tables, significance tests and pictures of the finished runs of a study"


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fairseq-wsum study`."""
    _add_plan(parser)
    parser.add_argument(
        "--launcher",
        choices=("joblib", "submitit_slurm", "submitit_local"),
        default="joblib",
        help="hydra's launcher: joblib keeps a queue on this machine (default), submitit_slurm "
        "submits an array of jobs to Slurm, submitit_local starts submitit's jobs here",
    )
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="runs at a time (default: one for each GPU, else for each core; with Slurm, all)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show the commands, or Slurm's jobs, and stop"
    )
    parser.add_argument(
        "--launcher-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of hydra's launcher, such as partition=gpu or timeout_min=600; may be "
        "repeated",
    )
    parser.set_defaults(run=_study)


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fairseq-wsum report`."""
    _add_plan(parser)
    parser.set_defaults(run=_report)


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.yaml", help="the study")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder for data, runs, scores and report (default runs/studies/FILE)",
    )


# The commands need packages that the layer does not.


def _study(args: argparse.Namespace) -> None:
    _commands().study(args)


def _report(args: argparse.Namespace) -> None:
    _commands().report(args)


def _commands() -> ModuleType:
    try:
        import scipy  # noqa: F401  the report needs it, but only for some studies

        from . import commands
    except ImportError as error:
        raise ImportError(
            f"studies need the extras fairseq and study of this package ({error}); "
            "scripts/setup.sh installs them"
        ) from error
    return commands
