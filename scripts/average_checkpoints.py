"""Average the weights of the last N epochs' checkpoints of a fairseq training.

usage: average_checkpoints.py FOLDER N OUTPUT
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package may not be installed
from fairseq_wsum.checkpoint_files import damage, read
from fairseq_wsum.files import whole


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    folder, number, output = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    paths = last_epochs(folder, number)
    with whole(output) as partial:
        torch.save(average(paths), partial)
    print(*(path.name for path in paths))


def last_epochs(folder: Path, number: int) -> list[Path]:
    """The latest `number` files checkpoint<epoch>.pt, oldest first."""
    epochs = {
        int(found[1]): path
        for path in folder.iterdir()
        if (found := re.fullmatch(r"checkpoint(\d+)\.pt", path.name))
    }
    if len(epochs) < number:
        sys.exit(
            f"error: --average {number}: {folder} has {len(epochs)} epoch checkpoints; give a "
            f"smaller number, or train with --keep-last-epochs {number} or more "
            "and without --no-epoch-checkpoints"
        )
    return [epochs[epoch] for epoch in sorted(epochs)[-number:]]


def average(paths: list[Path]) -> dict[str, Any]:
    """The last checkpoint with averaged weights and without the optimiser's state."""
    sums: dict[str, torch.Tensor] = {}
    shapes: dict[str, torch.Size] = {}
    for path in paths:
        problem = damage(path)
        if problem is not None:
            sys.exit(f"error: {path} is damaged: {problem}; leave it out with a smaller --average")
        state = read(path)
        these = {name: weight.shape for name, weight in state["model"].items()}
        if these != (shapes or these):
            sys.exit(f"error: {path} and {paths[0]} are different models; they cannot be averaged")
        shapes = these
        for name, weight in state["model"].items():
            sums[name] = sums.get(name, 0) + weight.double()
    for name, weight in state["model"].items():
        if weight.is_floating_point():  # integers, such as a version number, are kept
            state["model"][name] = (sums[name] / len(paths)).to(weight.dtype)
    state["last_optimizer_state"] = None
    return state


if __name__ == "__main__":
    main()
