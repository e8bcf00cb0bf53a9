"""Replace a missing or damaged checkpoint_last.pt of a folder.

usage: restore_last.py FOLDER

The new file is a copy of the newest intact checkpoint in the folder. A damaged one is kept under
another name. Called by train.sh.
"""

from __future__ import annotations

import shutil
import sys
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package may not be installed
from fairseq_wsum.checkpoint_files import damage, newest
from fairseq_wsum.files import whole


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    last = folder / "checkpoint_last.pt"
    try:
        problem = damage(last) if last.is_file() else "it is missing"
    except OSError as error:  # it may be intact, and newer than all others
        sys.exit(f"error: {last} cannot be read: {error.strerror}; make it readable, and try again")
    if problem is None:
        return
    found = newest(folder, leave_out=last)
    if found is None:
        sys.exit(
            f"error: {last}: {problem}, and {folder} has no other checkpoint to continue from; "
            "give a new --save-dir to start again"
        )
    path, updates = found
    try:
        with whole(last) as partial:
            shutil.copyfile(path, partial)
            if last.exists():
                kept = unused(f"{last}.damaged")
                last.rename(kept)
                problem += f"; it is kept as {kept.name}"
    except OSError as error:
        sys.exit(f"error: {last} cannot be restored from {path.name}: {error}")
    print(f"{last}: {problem}. Continuing from {path.name} ({updates} updates)", file=sys.stderr)


def unused(name: str) -> Path:
    """`name`, with a number if it is taken."""
    names = (Path(name if n == 1 else f"{name}.{n}") for n in count(1))
    return next(path for path in names if not path.exists())


if __name__ == "__main__":
    main()
