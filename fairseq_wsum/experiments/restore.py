"""Replace a missing or damaged checkpoint_last.pt by the newest intact checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..checkpoint_files import damage, newest
from ..files import whole
from .files import UserError, say


def restore_last(folder: Path) -> None:
    """Make checkpoint_last.pt of a folder a copy of its newest intact checkpoint, if necessary.

    A damaged one is kept under another name.

    Raises:
        UserError: the file cannot be read or written, or the folder has no other checkpoint.
    """
    last = folder / "checkpoint_last.pt"
    try:
        problem = damage(last) if last.is_file() else "it is missing"
    except OSError as error:  # it may be intact, and newer than all others
        raise UserError(
            f"{last} cannot be read: {error.strerror}; make it readable, and try again"
        ) from error
    if problem is None:
        return
    found = newest(folder, leave_out=last)
    if found is None:
        raise UserError(
            f"{last}: {problem}, and {folder} has no other checkpoint to continue from; give a new "
            "--save-dir to start again"
        )
    path, updates = found
    try:
        with whole(last) as partial:
            shutil.copyfile(path, partial)
            if last.exists():
                numbers = ("", *(f".{n}" for n in range(2, 1000)))
                names = (last.with_name(f"{last.name}.damaged{number}") for number in numbers)
                kept = next(name for name in names if not name.exists())
                last.rename(kept)
                problem += f"; it is kept as {kept.name}"
    except OSError as error:
        raise UserError(f"{last} cannot be restored from {path.name}: {error}") from error
    say(f"{last}: {problem}. Continuing from {path.name} ({updates} updates)")
