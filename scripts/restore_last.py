"""Which checkpoint of a folder to go on from where checkpoint_last.pt is damaged or missing.

usage: newest_checkpoint.py FOLDER

Prints its path; nothing where checkpoint_last.pt is whole, or there is no checkpoint at all.
Called by train.sh.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package may not be installed
from fairseq_wsum.checkpoint_files import damage, newest


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    last = folder / "checkpoint_last.pt"
    what = damage(last) if last.is_file() else "it is missing"
    if what is None or not list(folder.glob("checkpoint*.pt")):
        return
    found = newest(folder, leave_out=last)
    if found is None:
        sys.exit(
            f"error: {last}: {what}, and no other checkpoint of {folder} can be gone on from; "
            "give a new --save-dir to begin again"
        )
    path, updates = found
    print(f"{last}: {what}; going on from {path} ({updates} updates)", file=sys.stderr)
    print(path)


if __name__ == "__main__":
    main()
