"""Which study a folder belongs to."""

from __future__ import annotations

import os
from pathlib import Path

from ..files import whole

OWNER = ".study-file"  # the path of the study's file


def check_owner(folder: Path, file: Path, cure: str) -> None:
    """Check that a folder belongs to no other study.

    A study whose file was moved, and kept its name, is the same study.

    Args:
        folder: the folder, which need not exist.
        file: the study's file.
        cure: what to do otherwise, for the message.

    Raises:
        ValueError: it belongs to another study.
    """
    record = folder / OWNER
    if not record.exists():
        return
    owner = Path(os.fsdecode(record.read_bytes()))
    if os.path.exists(owner):  # False, too, where we may not look
        if not owner.samefile(file):
            raise ValueError(f"{folder} belongs to {owner}; {cure}")
    elif owner.name != file.name:
        raise ValueError(
            f"{folder} belongs to {owner}, which is not there now; {cure}, or if {file.name} is "
            f"the same study, remove {record}"
        )


def set_owner(folder: Path, file: Path) -> None:
    """Let a folder belong to a study."""
    with whole(folder / OWNER) as partial:
        partial.write_bytes(os.fsencode(file))
