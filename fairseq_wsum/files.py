"""Atomic writes, after which a file is complete or absent, and reading compressed files."""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name to write to, which becomes `path` when the file is complete.

    The folder is made if it does not exist, and a link is followed. What is not a file, such as
    /dev/stdout, is written to itself.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        # on disk before it has its name, so that a power cut leaves no empty file
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file to read bytes from, decompressed if its name ends in .gz.

    Raises:
        OSError: it cannot be read, or is damaged.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise OSError(f"{path} is damaged: {error}") from error
