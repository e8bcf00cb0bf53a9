"""The package's own libraries in C++: finding them, and saying why one is not there."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path


def load(name: str, check: Callable[[ctypes.CDLL], str | None], missing: str) -> ctypes.CDLL | str:
    """The library, or why there is none.

    Args:
        name: of its file, up to what Python adds.
        check: why this build of it does not serve here, or None if it does.
        missing: what to say where it was not built.
    """
    reasons = []
    for path in sorted(Path(__file__).parent.glob(f"{name}*.so")):
        try:
            library = ctypes.CDLL(str(path))
            reason = check(library)
        except (OSError, AttributeError) as error:
            reasons.append(f"{path.name} does not load: {error}")
            continue
        if reason is None:
            return library
        reasons.append(f"{path.name} was built {reason}; install the package again")
    return "; ".join(reasons) or missing
