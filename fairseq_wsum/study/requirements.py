"""What a study needs before a run starts: recipes, data, and the user's own code with its cells.

A report needs none of these.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

from ..cells import CELLS
from .plan import Options, Plan, Run
from .plan_file import CELL_OPTIONS

# The user's code may do anything when it is imported, so another process imports it. As it may
# print, the names come last.
_PRINT_CELLS = """
import argparse, sys
from fairseq.utils import import_user_module
from fairseq_wsum import CELLS
import_user_module(argparse.Namespace(user_dir=sys.argv[1]))
print()
print(*CELLS)
"""


def check_requirements(file: Path, runs: Sequence[Run]) -> None:
    """Check what the file of a study names: recipes, folders, and cells of the user's own code.

    Args:
        file: the file of the study.
        runs: those that are to be done. Only their tasks are checked.

    Raises:
        ValueError: something is missing; the message says where the file names it.
    """
    for task in {run.task.name: run.task for run in runs}.values():
        place = f"{file}: tasks: {task.name}"
        _check_recipe(f"{place}: recipe", task.recipe)
        if task.data is not None and not task.data.exists():  # or an archive for some recipes
            raise ValueError(
                f"{place}: data: no folder {task.data}; the path is relative to the study's file"
            )
        _check_user_dir(f"{place}: options", task.options.get("user-dir"))
        for model in task.models:
            _check_user_dir(f"{place}: {model.name}", model.options.get("user-dir"))
            _check_cells(f"{place}: {model.name}", task.options_of(model))


def check_one_gpu(plan: Plan) -> None:
    """Check that no run asks for more GPUs than a study gives it on this machine.

    Raises:
        ValueError: one does.
    """
    for task in plan.tasks:
        for model in task.models:
            gpus = str(task.options_of(model).get("gpus", 1))
            if gpus not in ("0", "1"):
                raise ValueError(
                    f"{plan.file}: tasks: {task.name}: {model.name}: gpus: {gpus}: each run of a "
                    "study has one GPU, and the others serve other runs; remove the line, or use "
                    "--launcher submitit_slurm with --launcher-option gpus_per_node=N"
                )


def _check_recipe(place: str, recipe: Path) -> None:
    if not recipe.is_file():
        raise ValueError(f"{place}: no file {recipe}; the path is relative to the study's file")
    if not os.access(recipe, os.X_OK):
        raise ValueError(
            f"{place}: {recipe} cannot be executed: run chmod +x {shlex.quote(str(recipe))}"
        )


def _check_cells(place: str, options: Options) -> None:
    names = {option: options[option] for option in CELL_OPTIONS if option in options}
    folder = options.get("user-dir")
    known: Collection[str] = CELLS
    if folder is not None and not CELLS.keys() >= set(names.values()):
        try:
            known = _cells_of(Path(str(folder)).resolve())
        except ImportError as error:
            raise ValueError(f"{place}: user-dir: {error}") from error
    for option, name in names.items():
        if name not in known:
            raise ValueError(f"{place}: {option}: no cell {name!r}; choose from {', '.join(known)}")


def _check_user_dir(place: str, folder: str | bool | None) -> None:
    if folder is not None and not Path(str(folder)).is_dir():
        raise ValueError(
            f"{place}: user-dir: no folder {folder} in {Path.cwd()}, to which this path is relative"
        )


@cache
def _cells_of(folder: Path) -> tuple[str, ...]:
    """The names of all cells when the user's code in a folder has been imported."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PRINT_CELLS, str(folder)], capture_output=True, text=True
    )
    if done.returncode != 0:
        *_, reason = ("", *done.stderr.strip().splitlines())
        raise ImportError(f"{folder} cannot be imported: {reason}")
    return tuple(done.stdout.splitlines()[-1].split())
