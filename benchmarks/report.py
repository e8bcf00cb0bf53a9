"""Options, the description of the machine, tables and files, shared by the benchmarks.

All subjects of a comparison are timed in turn within one run, so that changes in the machine's
speed affect them alike. The result is the ratio of the medians.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fairseq_wsum.argument_types import positive
from fairseq_wsum.cli import DTYPES, table
from fairseq_wsum.files import whole
from fairseq_wsum.machine import machine
from fairseq_wsum.weights.picture import DPI, METADATA, SETTINGS

__all__ = ["DTYPES", "Shape", "add_measurement", "check_can_draw", "check_device"]
__all__ += ["end_with_errors", "machine", "output_file", "positive", "save_figure", "table"]
__all__ += ["print_rows", "write_json"]

Shape = tuple[int, int, int]  # T, B, H


def end_with_errors(main: Callable[[], None]) -> None:
    """Call `main`; an error that the user can fix ends with its message and no traceback."""
    try:
        main()
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f"error: {error}")


def add_measurement(
    parser: argparse.ArgumentParser,
    cells: Sequence[str],
    shapes: Sequence[Shape],
    default: str | None = None,
    device: tuple[str, str] = ("cpu", "cpu (default) or cuda"),
) -> None:
    """Add the options for what is measured, how often, and where the results are written.

    Without `default`, all cells are measured by default. With it, --cells is None by default, and
    the text says what that means.
    """
    add = parser.add_argument
    names = f"cells to measure (default: {default or ' '.join(cells)})"
    chosen = None if default else cells
    usual = " ".join(",".join(map(str, shape)) for shape in shapes)
    sizes = f"numbers of time steps, sequences and units (default: {usual})"
    add("--cells", nargs="+", choices=cells, default=chosen, metavar="NAME", help=names)
    add("--shapes", nargs="+", type=_shape, default=shapes, metavar="T,B,H", help=sizes)
    add("--dtype", choices=DTYPES, default="fp32", help="floating-point type (default fp32)")
    add("--device", default=device[0], help=device[1])
    add("--rounds", type=positive, default=15, help="timings of each layer (default 15)")
    add("--json", type=output_file, metavar="FILE", help="also write all results to FILE")


def print_rows(rows: Sequence[Mapping[str, str]], header: bool) -> None:
    """Print rows of a table that grows; only the first ones have the header."""
    lines = table(rows).splitlines()
    print("\n".join(lines if header else lines[2:]), flush=True)


def check_device(device: str) -> None:
    """Raise RuntimeError if torch does not see the device."""
    if device != "cpu" and not torch.cuda.is_available():
        raise RuntimeError(f"--device {device}: torch sees no GPU here")


def _shape(text: str) -> Shape:
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not T,B,H, such as 13,64,500")
    return int(parts[0]), int(parts[1]), int(parts[2])


def output_file(text: str) -> Path:
    """A file that can be written; makes its folder. It is called before anything is measured."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder: give a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path}: the folder cannot be written to")
    return path


def write_json(path: Path, record: Mapping[str, object]) -> None:
    """Write a record, complete or not at all."""
    with whole(path) as partial:
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def check_can_draw(option: str, path: Path) -> None:
    """Raise ValueError unless matplotlib is installed and can write this type of file."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError(f"{option} needs matplotlib: pip install matplotlib")
    if path.suffix not in METADATA:
        raise ValueError(f"{option} {path}: the name must end with .png, .svg or .pdf")


def save_figure(path: Path, figure: Any) -> None:
    """Write a figure of matplotlib. Equal figures give equal files."""
    import matplotlib

    with matplotlib.rc_context(SETTINGS):
        figure.savefig(path, dpi=DPI, metadata=METADATA[path.suffix])
