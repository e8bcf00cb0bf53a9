"""Helpers that the Python scripts share."""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO


class UserError(Exception):
    """A problem that the user can fix; the message says how."""


def run(main: Callable[[], None]) -> None:
    """Call `main`; a problem that the user can fix ends with its message and no traceback."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that unfinished files are removed
    try:
        main()
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def corpus_parser(
    script: str, description: str, examples: str, *, corpus: str, data: str, kind: str = "FOLDER"
) -> argparse.ArgumentParser:
    """The parser of a script that prepares a corpus, with the options --out, --data and --cache.

    `data` is the help text of --data, which is a path of this `kind`. `corpus` is the name of the
    default cache: see `corpus_files.cache_folder`.
    """
    parser = argparse.ArgumentParser(
        prog=script,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--out", type=folder, required=True, metavar="DIR", help="folder to create")
    add("--data", type=Path, metavar=kind, help=data)
    add(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help=f"without --data: keep downloaded files here (default ~/.cache/fairseq_wsum/{corpus})",
    )
    return parser


def folder(text: str) -> Path:
    if ":" in text:
        raise argparse.ArgumentTypeError(
            f"{text}: fairseq splits paths at ':'; give a folder without one"
        )
    return Path(text)


def check_source(parser: argparse.ArgumentParser, args: argparse.Namespace, url: str) -> None:
    """Check where the corpus comes from: --data, or the address in the variable `url`."""
    if args.cache is not None and args.data is not None:
        parser.error(f"--cache {args.cache} with --data {args.data}: leave one of the two out")
    if args.own_corpus and args.data is None and url not in os.environ:
        parser.error(f"--own-corpus needs --data FOLDER, or {url} with the address of the corpus")
    if args.data is not None and not args.data.exists():
        parser.error(f"--data {args.data} does not exist")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


@contextmanager
def locked(path: Path, busy: str) -> Iterator[IO[bytes]]:
    """Open `path` for appending, locked for this run; `busy` is the error of a second run."""
    with path.open("ab") as file:  # appending changes nothing before the lock is ours
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(busy) from error
        except OSError:
            print(f"{path.parent} is on a file system without locks: do not start a second run")
        if not is_open_at(file, path):
            raise UserError(f"another run has just finished with {path}; run this again")
        # Programs that we start inherit the lock, as they may outlive us and still write.
        os.set_inheritable(file.fileno(), True)
        yield file


def is_open_at(file: IO[bytes], path: Path) -> bool:
    """Whether `path` is still this open file, neither moved nor removed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def few(names: list[str]) -> str:
    """At most three of the names, and the number of the others."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in numbers.items())


def each_line(raw: bytes) -> Iterator[str]:
    """The lines of a UTF-8 text, one at a time. A large text needs far more memory as a list.

    Only "\\n" ends a line: `splitlines` would also break a sentence at U+2028, U+0085 and the like.
    """
    for line in io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8", newline="\n"):
        yield line.removesuffix("\n")


def line_count(raw: bytes) -> int:
    return sum(1 for _ in each_line(raw))


def open_text(path: Path, mode: str = "r") -> IO[str]:
    """Open a file of UTF-8 text in which only "\\n" ends a line, on every system."""
    return path.open(mode, encoding="utf-8", newline="\n")


def write_lines(path: Path, text: Iterable[str]) -> None:
    """Write one sentence per line."""
    with open_text(path, "w") as file:
        file.writelines(f"{line}\n" for line in text)


def versions(*packages: str) -> dict[str, str]:
    """The versions of the installed ones among `packages`."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
