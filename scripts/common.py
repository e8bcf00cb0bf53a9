"""Shared by the Python halves of the scripts."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO


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
    parser.add_argument(
        "--out", type=out_folder, required=True, metavar="DIR", help="folder to make"
    )
    return parser


def out_folder(text: str) -> Path:
    if ":" in text:
        raise argparse.ArgumentTypeError(
            f"{text}: fairseq takes ':' for the end of a path; give a folder without"
        )
    return Path(text)


def check_cache(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """--cache says where downloads are kept, and --data that there are none."""
    if args.cache is not None and args.data is not None:
        parser.error(f"--cache {args.cache} with --data {args.data}: leave one of the two out")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive whole number")
    return int(text)


@contextmanager
def locked(path: Path, busy: str) -> Iterator[IO[bytes]]:
    """Open `path` to append to it, for this run alone; `busy` is the message for a second run."""
    with path.open("ab") as file:  # appending changes nothing before the lock is ours
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(busy) from error
        except OSError:
            print(f"{path.parent} is on a file system without locks: start no second run there")
        if not is_open_at(file, path):
            raise UserError(f"another run has just finished with {path}; run this again")
        # A program that we start holds the lock as well: it may outlive us and write on.
        os.set_inheritable(file.fileno(), True)
        yield file


def is_open_at(file: IO[bytes], path: Path) -> bool:
    """Whether `path` still is this open file, and was not moved or removed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def few(names: list[str]) -> str:
    """Three of the names at most."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


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
