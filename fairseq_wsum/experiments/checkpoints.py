"""The checkpoints in the folder of a training: continue from the newest, average the last ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from ..checkpoint_files import damage, newest, read
from ..files import whole
from .program import UserError, import_fairseq, say


def restore_last(folder: Path, is_kept: bool = True) -> None:
    """Make a missing checkpoint_last.pt of a folder a copy of its newest intact checkpoint.

    Unless the training writes that file (`is_kept`), one that is there may be the copy of an
    earlier start.
    """
    last = folder / "checkpoint_last.pt"
    if last.exists() and is_kept:
        return
    if (found := newest(folder)) is None:
        raise UserError(
            f"{folder} has no intact checkpoint to continue from; give a new --save-dir to start "
            "again"
        )
    path, updates = found
    if path == last:
        return
    problem = "is older" if last.exists() else "is missing"
    with whole(last) as partial:
        shutil.copyfile(path, partial)
    say(f"{last} {problem}: continuing from {path.name} ({updates} updates)")


def average_last(folder: Path, number: int, output: Path) -> list[str]:
    """Write the average of the last `number` checkpoints of a folder, and return their names."""
    paths = last_checkpoints(folder, number)
    with whole(output) as partial:
        torch.save(average(paths), partial)
    return [path.name for path in paths]


def last_checkpoints(folder: Path, number: int) -> list[Path]:
    """The latest `number` files checkpoint<epoch>.pt, oldest first.

    If there are fewer, those within epochs: checkpoint_<epoch>_<updates>.pt.
    """
    import_fairseq()
    from fairseq.checkpoint_utils import checkpoint_paths

    epochs = checkpoint_paths(str(folder))  # newest first
    updates = checkpoint_paths(str(folder), r"checkpoint_\d+_(\d+)\.pt")
    chosen = epochs if len(epochs) >= number else updates
    if len(chosen) < number:
        raise UserError(
            f"--average {number}: {folder} has {len(epochs)} checkpoints of epochs and "
            f"{len(updates)} of updates; give a smaller number, or train with --keep-last-epochs "
            f"{number} or more and without --no-epoch-checkpoints"
        )
    return [Path(path) for path in reversed(chosen[:number])]


def average(paths: list[Path]) -> dict[str, Any]:
    """The last checkpoint with averaged weights and without the optimiser's state."""
    sums: dict[str, torch.Tensor] = {}
    for path in paths:
        if (problem := damage(path)) is not None:
            raise UserError(
                f"{path} is damaged: {problem}; move it to another folder to average the others"
            )
        state = read(path)
        shapes = {name: weight.shape for name, weight in state["model"].items()}
        if sums and shapes != {name: weight.shape for name, weight in sums.items()}:
            raise UserError(f"{path} and {paths[0]} are different models; they cannot be averaged")
        for name, weight in state["model"].items():
            sums[name] = sums.get(name, 0) + weight.double()
    for name, weight in state["model"].items():
        if weight.is_floating_point():  # integers, such as a version number, are kept
            state["model"][name] = (sums[name] / len(paths)).to(weight.dtype)
    state["last_optimizer_state"] = None
    return state
