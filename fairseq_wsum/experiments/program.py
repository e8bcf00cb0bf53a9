"""What the programs share: errors that the user can fix, signals, options and messages."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


class UserError(Exception):
    """A problem that the user can fix; the message says how."""


def run(main: Callable[[], None]) -> None:
    """Call `main`; a problem that the user can fix ends with its message and no traceback."""
    # oneDNN compiles and keeps a kernel for each shape of a product, by default 1,024 of them
    # (docs/tuning.md, "Compiled products")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            # so that programs are ended, and unfinished files removed
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # as in `fairseq-wsum info | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        sys.exit(1)
    except ModuleNotFoundError as error:  # in an environment of the user's own
        extras = "the extras fairseq and study of this package"
        cure = f"run scripts/setup.sh in a clone, or install {extras}"
        sys.exit(f"error: {error}: {cure}")
    except (UserError, OSError, ImportError, argparse.ArgumentTypeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:  # ends the loop of a shell, too, unlike an exit status
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def run_module(name: str, given: Sequence[str]) -> None:
    """`run` a program of this package with a command line.

    It is imported here, as it may need a package that is missing.
    """
    run(lambda: import_module(name).main([*given]))


def import_fairseq() -> None:
    """Import fairseq without its log messages about optional packages."""
    logging.disable(logging.INFO)
    try:
        import_module("fairseq")
    finally:
        logging.disable(logging.NOTSET)


# Options


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


def user_dir(text: str) -> str:
    """The type of --user-dir."""
    if not text or not Path(text).is_dir():
        raise UserError(f"--user-dir {text}: no such folder")
    return text


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


def first_word(program: str, metavar: str, names: Iterable[str], given: Sequence[str]) -> str:
    """The first word of a command line, which is one of `names`."""
    names = list(names)
    epilog = f"{program} {metavar} --help prints the options."
    parser = argparse.ArgumentParser(
        prog=program, usage=f"%(prog)s {metavar} [options]", epilog=epilog
    )
    parser.add_argument("name", choices=names, metavar=metavar, help=", ".join(names))
    return parser.parse_args(given[:1]).name


def parse_data_first(
    parser: argparse.ArgumentParser, given: list[str]
) -> tuple[argparse.Namespace, list[str]]:
    """Our options with DATA, which comes before fairseq's options, and these."""
    args, rest = parser.parse_known_args(given)
    if not rest or rest[0].startswith("-"):
        raise UserError("no data: give the folder first, before fairseq's options (see --help)")
    args.data, *options = rest
    return args, options


def command_line(options: Mapping[str, object]) -> list[str]:
    """Options as words of a command line; True stands for an option without a value."""
    return [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()
    ]


# Messages


def say(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


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


def versions(*packages: str) -> dict[str, str]:
    """The versions of the installed ones among `packages`."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
