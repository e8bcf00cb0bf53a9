"""Text files, locks, and errors that the user can fix."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import io
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import IO, Any

PACKAGE = Path(__file__).parents[1]


class UserError(Exception):
    """A problem that the user can fix; the message says how."""


def run(main: Callable[[], None]) -> None:
    """Call `main`; a problem that the user can fix ends with its message and no traceback."""
    # oneDNN compiles and keeps a kernel for each shape of a product, by default 1,024 of them
    # (docs/tuning.md, "Compiled products")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    # so that programs are ended, and unfinished files removed
    handle_ends(lambda number, _: sys.exit(128 + number))
    try:
        main()
    except ModuleNotFoundError as error:  # in an environment of the user's own
        extras = "the extras fairseq and study of this package"
        cure = f"run scripts/setup.sh in a clone, install {extras}, or pip install {error.name}"
        sys.exit(f"error: {error}: {cure}")
    except (UserError, OSError, argparse.ArgumentTypeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:  # ends the loop of a shell, too, unlike an exit status
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def run_module(name: str, given: Sequence[str]) -> None:
    """`run` a program of this package with a command line.

    It is imported here, as it may need a package that is missing.
    """
    run(lambda: import_module(name).main([*given]))


def handle_ends(handler: Callable[[int, FrameType | None], Any]) -> None:
    """Call `handler` when this process is terminated or its terminal is closed."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, handler)


def say(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def named(text: str) -> Path:
    """The type of an option that names a folder."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


def folder(text: str) -> Path:
    """The type of an option that names a data folder."""
    if ":" in text:
        raise argparse.ArgumentTypeError(
            f"{text}: fairseq splits paths at ':'; give a folder without one"
        )
    return named(text)


def script_parser(
    script: str, description: str, epilog: str, usage: str | None = None
) -> argparse.ArgumentParser:
    """The parser of a script; `usage` is needed if other programs have options of it, too."""
    return argparse.ArgumentParser(
        prog=script,
        usage=usage and f"%(prog)s {usage}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def command_line(options: Mapping[str, object]) -> list[str]:
    """Options as words of a command line; True stands for an option without a value."""
    return [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()
    ]


def user_dir(text: str) -> str:
    """The type of --user-dir."""
    if not text or not Path(text).is_dir():
        raise UserError(f"--user-dir {text}: no such folder")
    return text


def parse_data_first(
    parser: argparse.ArgumentParser, given: list[str]
) -> tuple[argparse.Namespace, list[str]]:
    """Our options with DATA, which comes before fairseq's options, and these.

    Raises:
        UserError: DATA is missing.
    """
    args, rest = parser.parse_known_args(given)
    if not rest or rest[0].startswith("-"):
        raise UserError("no data: give the folder first, before fairseq's options (see --help)")
    args.data, *options = rest
    return args, options


def lock(path: Path, patience: float = math.inf, waiting: str = "") -> IO[str]:
    """Lock a file for this process and those that it starts, which inherit the lock.

    Args:
        path: the file; it is made if it does not exist.
        patience: the number of seconds to wait while another process holds the lock.
        waiting: said when the waiting begins.

    Returns:
        the open file, whose closing ends the lock.

    Raises:
        TimeoutError: another process still holds it.
    """
    file = path.open("a")
    os.set_inheritable(file.fileno(), True)
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() >= end:
                file.close()
                raise TimeoutError(f"another run holds {path}; wait until it ends") from None
        except OSError:
            say(f"{path.parent} is on a file system without locks: do not start a second run there")
            return file
        if waiting:
            say(waiting)
            waiting = ""
        time.sleep(0.2)


def hold(folder: Path, name: str, option: str) -> IO[str]:
    """`lock` the file `name` in a folder, which `option` names for the error.

    The processes of a killed training hold it until they end, within seconds, for which it waits.

    Raises:
        UserError: another process holds the lock.
    """
    path = folder / name
    try:
        file = lock(path, 20, f"waiting for another run in {folder} to end")
    except TimeoutError:
        raise UserError(
            f"{option} {folder}: another run is writing there ({path.read_text().strip()}); "
            "wait until it ends, or give a new folder"
        ) from None
    file.truncate(0)
    print(f"process {os.getpid()} on {platform.node()}", file=file, flush=True)
    return file


def changes(there: Mapping[str, object], now: Mapping[str, object]) -> str:
    """How two sets of options differ, for a message; empty if they do not."""
    return "; ".join(
        f"{name} is {there.get(name, 'absent')} there, {now.get(name, 'absent')} now"
        for name in {**there, **now}
        if there.get(name) != now.get(name)
    )


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


def lines_of(path: Path) -> list[str]:
    """The lines of a text file."""
    return list(each_line(path.read_bytes()))


def line_count(raw: bytes) -> int:
    return sum(1 for _ in each_line(raw))


def open_text(path: Path, mode: str = "r") -> IO[str]:
    """Open a file of UTF-8 text in which only "\\n" ends a line, on every system."""
    return path.open(mode, encoding="utf-8", newline="\n")


def write_lines(path: Path, text: Iterable[str]) -> None:
    """Write one sentence per line."""
    with open_text(path, "w") as file:
        file.writelines(f"{line}\n" for line in text)


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """The versions of the installed ones among `packages`."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
