"""Checkpoints of fairseq as files: read safely, tested for damage, the newest of a folder.

This module needs torch alone.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy
import torch


def allowed() -> list[Any]:
    """What fairseq's checkpoints hold beside tensors and plain types.

    Models without a dataclass, such as fairseq's own `lstm`, have an `argparse.Namespace`, a bag of
    plain values. After a validation with `--eval-bleu` there are arrays of numpy, the counts of
    n-grams. None of these runs anything when it is loaded.
    """
    reconstruct = numpy.empty(0).__reduce__()[0]
    # by the names that numpy 1 and 2 have for it
    names = (f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core"))
    numbers = [type(numpy.dtype(kind)) for kind in (numpy.int64, numpy.float64)]
    named = [(reconstruct, name) for name in names]
    return [Namespace, numpy.ndarray, numpy.dtype, *numbers, reconstruct, *named]


def read(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """Load a checkpoint into host memory; nothing in it is run.

    Args:
        path: the file.
        mmap: leave the tensors on disk until they are used.

    Raises:
        pickle.UnpicklingError: it holds objects of other types.
        EOFError, OSError, RuntimeError: it cannot be read.
    """
    known = torch.serialization.get_safe_globals()
    new = [kind for kind in allowed() if kind not in known]  # what is added is removed in the end
    with torch.serialization.safe_globals(new):
        state: dict[str, Any] = torch.load(path, "cpu", weights_only=True, mmap=mmap or None)
    return state


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None. All of its bytes are checked.

    torch.load by itself does not check the checksums that a checkpoint holds.
    """
    if path.stat().st_size == 0:
        return "it is empty"
    try:
        zipped = zipfile.is_zipfile(path)  # else it is cut off, or of torch before 1.6
        if zipped:
            with zipfile.ZipFile(path) as parts:
                broken = parts.testzip()
            if broken is not None:
                return f"the checksum of {broken} in it is wrong"
        state = read(path, mmap=zipped)  # all bytes were read above: no second copy of the weights
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError) as error:
        return f"it is cut off, or no checkpoint ({_first_line(error)})"
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found is None:
            return "it is no checkpoint"
        return f"it holds {found[1]}, which is neither a tensor nor a plain value"
    if not isinstance(state, dict) or "model" not in state:
        return "it is no checkpoint of fairseq"
    return None


def newest(folder: Path, leave_out: Path | None = None) -> tuple[Path, int] | None:
    """The checkpoint after the most updates from which a training can go on, and the updates.

    Args:
        folder: of the checkpoints.
        leave_out: a file that does not count.

    Returns:
        None where no checkpoint is left.
    """
    found = []
    for path in folder.glob("checkpoint*.pt"):
        if path != leave_out and (updates := _updates(path)) is not None:
            found.append((updates, path.stat().st_mtime_ns, path))
    for updates, _, path in sorted(found, reverse=True):
        if damage(path) is None:
            return path, updates
    return None


def _updates(path: Path) -> int | None:
    """How many updates a checkpoint is of; None where no training can go on from it."""
    try:
        state = read(path, mmap=True)
        if state.get("last_optimizer_state") is None:  # an average, or saved without
            return None
        return int(state["optimizer_history"][-1]["num_updates"])
    except Exception:  # whatever is wrong with a damaged file
        return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
