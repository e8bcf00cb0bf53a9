"""A hash of the C++ sources beside this file, by which a library shows from which it was built.

`setup.py` runs this file by its path, as it cannot import the package.
"""

import hashlib
from pathlib import Path

CSRC = Path(__file__).parent


def sources(folder: Path = CSRC) -> list[Path]:
    """The sources, without the temporary files of editors."""
    names = sorted(path for ending in ("cpp", "h") for path in folder.glob(f"*.{ending}"))
    return [path for path in names if not path.name.startswith(".")]


def fingerprint(folder: Path = CSRC) -> str:
    """A hash of the names and contents of the sources."""
    found = hashlib.sha256()
    for path in sources(folder):
        found.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]
