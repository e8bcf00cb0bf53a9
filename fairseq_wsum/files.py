"""Atomic writes: a file is complete or absent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name to write to, which becomes `path` when the file is complete."""
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        # on disk before it has its name, so that a power cut leaves no empty file
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def whole_at_end(path: Path) -> contextlib.AbstractContextManager[Path]:
    """`whole` of the file to which a link leads, in a folder that is made if it does not exist."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    return whole(path)
