"""What programs share that read a file with the model of a checkpoint."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import whole
from .program import PACKAGE, UserError, import_fairseq, script_parser, user_dir


def model_parser(name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """The parser of `fairseq-wsum NAME`, without --input and --scores."""
    program = f"fairseq-wsum {name}"
    parser = script_parser(program, description, epilog, "CHECKPOINT [options]")
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="the model")
    add("--output", type=new_file, metavar="FILE", help="a new file (default: stdout)")
    help = "the folder with its dictionaries (default: the data of its training)"
    add("--data", type=Path, metavar="FOLDER", help=help)
    add("--cpu", action="store_true", help="do not use a GPU")
    help = "a package with code of the model, such as its cell"
    add("--user-dir", type=user_dir, default=str(PACKAGE), metavar="FOLDER", help=help)
    return parser


def new_file(text: str) -> Path:
    """The type of --output."""
    if Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text} exists; give another name")
    return Path(text)


def write(text: str, path: Path | None, scores: Mapping[str, float]) -> None:
    """Write a text to a file, or stdout if `path` is None, and scores to stderr."""
    if path is None:
        sys.stdout.write(text)
    else:
        with whole(path) as partial:
            partial.write_text(text, "utf-8")
    for name, score in scores.items():
        print(f"{name}: {score:.2f}", file=sys.stderr)


def load_model(
    checkpoint: Path, arch: str, *, data: Path | None = None, cpu: bool, user_dir: str
) -> tuple[Any, Any]:
    """The model of a checkpoint, which must have this architecture, and its task."""
    import_fairseq()
    import torch

    from ..plugin import loading

    device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    own = None if user_dir == str(PACKAGE) else user_dir
    try:
        model, cfg, task = loading.load_model(checkpoint, device, own, data=data)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"cannot read the model {checkpoint}: {error}") from error
    if cfg.model._name != arch:
        raise UserError(f"{checkpoint} is no model of --arch {arch}")
    return model, task
