"""Shared by the Python halves of the scripts."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


class UserError(Exception):
    """Something that the user can put right; the message says how."""


def run(main: Callable[[], None]) -> None:
    """Call it; where the user can put something right, end with the message alone."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else unfinished files would stay
    try:
        main()
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")


def corpus_parser(script: str, description: str, examples: str) -> argparse.ArgumentParser:
    """For a script that prepares a corpus: it has --out."""
    parser = argparse.ArgumentParser(
        prog=script,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    return parser


def check_cache(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """--cache says where downloads are kept, and --data that there are none."""
    if args.cache is not None and args.data is not None:
        parser.error(f"--cache {args.cache} with --data {args.data}: leave one of the two out")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


def listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in numbers.items())


def write_lines(path: Path, text: Iterable[str]) -> None:
    """One sentence a line, in UTF-8, with "\\n" on every system."""
    path.write_bytes("".join(f"{line}\n" for line in text).encode())


def versions(*packages: str) -> dict[str, str]:
    """The versions of those `packages` that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
