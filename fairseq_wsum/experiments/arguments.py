"""The command lines of `fairseq-wsum study` and `fairseq-wsum report`."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from ..argument_types import positive

STUDY = "train and score every model of a YAML file with every seed; run it again to continue"
REPORT = "make tables, significance tests and pictures of the finished runs of a study"


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fairseq-wsum study`."""
    _add_plan(parser)
    add = parser.add_argument
    help = "runs at a time (default: one for each GPU, else for each core; with --slurm, all)"
    add("--jobs", type=positive, metavar="N", help=help)
    add("--dry-run", action="store_true", help="show the commands and stop")
    add("--slurm", action="store_true", help="submit the runs to Slurm, as an array of jobs")
    help = "an option of Slurm's jobs, such as partition=gpu or time=600; may be repeated"
    add("--slurm-option", action="append", default=[], metavar="NAME=VALUE", help=help)
    parser.set_defaults(run=lambda args: _run("study", args))


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fairseq-wsum report`."""
    _add_plan(parser)
    add = parser.add_argument
    help = "read the runs from the runs.json of earlier reports, not from their folders"
    add("--runs", type=Path, nargs="+", metavar="FILE.json", help=help)
    help = "the metrics of the tables, the main one first (default: all)"
    add("--metrics", nargs="+", default=[], metavar="METRIC", help=help)
    parser.set_defaults(run=lambda args: _run("report", args))


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.yaml", help="the study")
    help = "folder for data, runs, scores and report (default runs/studies/FILE)"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=help)


def _run(name: str, args: argparse.Namespace) -> None:
    """Run the command of this name, which needs packages that the layer does not."""
    try:
        module = import_module(f".{name}", __package__)
    except ImportError as error:
        raise ImportError(
            f"studies need the extras fairseq and study of this package ({error}); "
            "scripts/setup.sh installs them"
        ) from error
    getattr(module, name)(args)
