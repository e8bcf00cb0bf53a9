"""Text files: one sentence a line, in UTF-8."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO


def lines_of(path: Path) -> list[str]:
    """The lines of a text file."""
    with open_text(path) as file:
        return [line.removesuffix("\n") for line in file]


def open_text(path: Path, mode: str = "r") -> IO[str]:
    """Open a file of UTF-8 text in which only "\\n" ends a line, on every system.

    `splitlines` would also break a sentence at U+2028, U+0085 and the like.
    """
    return path.open(mode, encoding="utf-8", newline="\n")


def write_lines(path: Path, text: Iterable[str]) -> None:
    """Write one sentence per line."""
    with open_text(path, "w") as file:
        file.writelines(f"{line}\n" for line in text)


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def language_of(code: str) -> str:
    """The language of a code such as `pt_BR` or `zh-Hans`."""
    return re.split("[_-]", code)[0]
