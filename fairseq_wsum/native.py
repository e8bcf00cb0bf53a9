"""The package's own libraries in C++: finding them, and saying why one is not there."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass
class Library:
    """A library, loaded when it is first asked for.

    Args:
        name: of its file, up to what Python adds.
        check: why this build of it does not serve here, or None if it does.
        missing: what to say where it was not built.
    """

    name: str
    check: Callable[[ctypes.CDLL], str | None]
    missing: str

    def get(self) -> ctypes.CDLL:
        """The library.

        Raises:
            RuntimeError: there is none; the message says why.
        """
        library, reason = self._found
        if library is None:
            raise RuntimeError(reason)
        return library

    def why_missing(self) -> str | None:
        """Why there is none, or None where there is."""
        library, reason = self._found
        return reason if library is None else None

    @cached_property
    def _found(self) -> tuple[ctypes.CDLL | None, str]:
        reasons = []
        for path in sorted(Path(__file__).parent.glob(f"{self.name}*.so")):
            try:
                library = ctypes.CDLL(str(path))
                reason = self.check(library)
            except (OSError, AttributeError) as error:
                reasons.append(f"{path.name} does not load: {error}")
                continue
            if reason is None:
                return library, ""
            reasons.append(f"{path.name} was built {reason}; install the package again")
        return None, "; ".join(reasons) or self.missing
