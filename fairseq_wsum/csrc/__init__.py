"""A hash of the C++ sources beside this file, by which a library shows from which it was built.

`setup.py` runs this file by its path, as it cannot import the package.
"""

import hashlib
from pathlib import Path

CSRC = Path(__file__).parent


def fingerprint(folder: Path = CSRC) -> str:
    """A hash of the names and contents of the sources."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.[ch]*")):  # no temporary files of an editor
        found.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]
