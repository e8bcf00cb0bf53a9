"""Run the real commands, each in its own process."""

import argparse
import importlib.util
import shlex
import sys
from pathlib import Path

import pytest
import torch
from shell import completed, run

from fairseq_wsum import CELLS
from fairseq_wsum.checkpoint_files import read

ROOT = Path(__file__).parents[1]
USER_DIR = ROOT / "fairseq_wsum"
BIN = Path(sys.executable).parent

needs_fairseq = pytest.mark.skipif(
    importlib.util.find_spec("fairseq") is None, reason="fairseq is not installed"
)


def every_cells_options(usual: tuple[str, ...]) -> pytest.MarkDecorator:
    """Parametrize `cell` with the options of every cell. Only the `usual` ones are not slow."""
    options = {name: ["--cell", name] for name in CELLS}
    options["window"] = ["--cell", "qrnn", "--window", "2"]
    kinds = {name: () if name in usual else pytest.mark.slow for name in options}
    return pytest.mark.parametrize(
        "cell", [pytest.param(options[name], id=name, marks=kinds[name]) for name in options]
    )


def train(data: object, save_dir: object, *options: object, check: bool = True) -> str:
    """Run the command of scripts/train.sh for one CPU process without starting another Python."""
    shown = completed("train.sh", data, "--save-dir", save_dir, "--gpus", 0, *options, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    return run(*shlex.split(shown.stdout), check=check)


def assert_same_weights(first: Path, second: Path, **tolerances: float) -> None:
    """The same weights at the end of two trainings: to the bit, if there are no tolerances."""
    one, other = (read(folder / "checkpoint_last.pt") for folder in (first, second))
    if not tolerances:
        assert one["optimizer_history"][-1] == other["optimizer_history"][-1]
        tolerances = dict(rtol=0, atol=0)
    torch.testing.assert_close(dict(one["model"]), dict(other["model"]), **tolerances)


def training_options(command: list[str]) -> argparse.Namespace:
    """What fairseq reads from a command of `fairseq-train`."""
    from fairseq import options

    import fairseq_wsum.plugin  # noqa: F401

    return options.parse_args_and_arch(options.get_training_parser(), command[1:])
