"""Find and read the files of a corpus."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...files import opened
from ..program import UserError

# fairseq's own symbols: such a word would become padding or a sentence boundary and not be scored.
# (The word <unk> is predicted like any other.)
SYMBOLS = frozenset(("<pad>", "<s>", "</s>"))


def locate(name: str, folder: Path) -> Path | None:
    """A file, or its .gz."""
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def needed(name: str, data: Path, cure: str) -> Path:
    path = locate(name, data)
    if path is None:
        raise UserError(f"--data {data} has neither {name} nor {name}.gz; {cure}")
    return path


def read_text(path: Path) -> bytes:
    """The bytes of a file, which must be UTF-8 text.

    A byte-order mark is removed, as it would become part of the first word.
    """
    return "".join(read_lines(path)).encode()


def read_lines(path: Path) -> Iterator[str]:
    """The lines of what `read_text` reads, one at a time, for a text larger than the memory."""
    with _text(path) as file:
        for number, line in enumerate(file):
            yield (line if number else line.removeprefix(codecs.BOM_UTF8)).decode()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_sha256(path: Path) -> str:
    """The SHA-256 of a text of any size, uncompressed."""
    with _text(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _text(path: Path) -> Iterator[Any]:
    """`opened`, with errors that name the file."""
    try:
        with opened(path) as file:
            yield file
    except (OSError, UnicodeDecodeError) as error:
        kind = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "cannot be read"
        raise UserError(f"{path} {kind}: {error}; get the file again") from error


def check_line(file: object, number: int, words: Iterable[str]) -> None:
    """Raise an error if a line contains one of SYMBOLS."""
    for word in SYMBOLS.intersection(words):
        raise UserError(
            f"{file}, line {number}: {word} is a symbol of fairseq and would be read as padding or "
            "a sentence boundary; replace it in the text, for example by <unk>"
        )
