"""Where a checkpoint comes from: its architecture, its task, its data, and code of the user.

All errors are `OSError` or `ValueError`, and name the file and the cure.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection
from pathlib import Path
from typing import Any

from fairseq import utils
from omegaconf import OmegaConf

from .. import checkpoint_files


def read(checkpoint: Path) -> dict[str, Any]:
    """What the file contains, after a test for damage."""
    if checkpoint.is_dir():
        raise IsADirectoryError(
            f"{checkpoint} is a folder: give a checkpoint in it, such as checkpoint_best.pt"
        )
    if not checkpoint.is_file():
        raise FileNotFoundError(f"there is no checkpoint {checkpoint}")
    problem = checkpoint_files.damage(checkpoint)
    if problem is not None:
        raise ValueError(f"checkpoint {checkpoint} cannot be used: {problem}")
    return checkpoint_files.read(checkpoint, mmap=True)


def import_code(user_dir: Path) -> None:
    """Import code of the user, which may register a cell, an architecture or a task."""
    if user_dir.is_file():
        raise NotADirectoryError(f"--user-dir {user_dir} is a file: give its folder")
    try:
        utils.import_user_module(OmegaConf.create({"user_dir": str(user_dir)}))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"--user-dir {user_dir}: there is no such folder") from error


def recorded(checkpoint: Path, state: dict[str, Any]) -> tuple[str, str, str]:
    """The architecture, the task, and the folder of the data of the training."""
    try:
        cfg: Any = state.get("cfg")
        args = state["args"] if cfg is None else cfg["model"]
        if cfg is None:
            return str(args.arch), str(args.task), str(args.data)
        task = cfg["task"]
        # what has no dataclass is a Namespace of all options
        arch = args.arch if isinstance(args, Namespace) else args["_name"]
        if isinstance(task, Namespace):
            return str(arch), str(task.task), str(task.data)
        return str(arch), str(task["_name"]), str(task["data"])
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"checkpoint {checkpoint} is not fairseq's: it names no architecture and no data"
        ) from error


def check_known(checkpoint: Path, kind: str, name: str, known: Collection[str]) -> None:
    """Check that fairseq knows the architecture or the task (`kind`) of this name."""
    if name not in known:
        raise ValueError(
            f"checkpoint {checkpoint}: there is no {kind} {name} here; if it is your own, give its "
            "folder with --user-dir"
        )


def languages(source: str | None, target: str | None) -> dict[str, str]:
    """The languages as options of fairseq, which infers both if one is missing."""
    if source is not None and target is not None:
        return {"source_lang": source, "target_lang": target}
    if source is not None:
        raise ValueError(f"--source-lang {source} needs --target-lang")
    if target is not None:
        raise ValueError(f"--target-lang {target} needs --source-lang")
    return {}


def data_folder(given: Path | None, trained_on: str) -> Path:
    """The folder that was given, else that of the training. It must have dictionaries."""
    folder = given or Path(utils.split_paths(trained_on)[0])
    if ":" in str(folder):  # fairseq splits it there
        raise no_data(given, folder, "has a colon in its name")
    if not list(folder.glob("dict*.txt")):
        problem = "does not exist"
        if folder.exists():
            problem = "has no dictionary (dict*.txt)" if folder.is_dir() else "is a file"
        raise no_data(given, folder, problem)
    return folder


def no_data(given: Path | None, folder: Path, problem: str) -> FileNotFoundError:
    """The error about a data folder that cannot be used."""
    whose = "--data" if given else "the data folder of the training,"
    return FileNotFoundError(
        f"{whose} {folder} {problem}: give the folder of the model's data with --data"
    )
