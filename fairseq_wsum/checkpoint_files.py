"""fairseq checkpoint files: reading them safely, checking for damage, and finding the newest.

This module depends on torch and numpy only.
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch


def allowed() -> list[Any]:
    """The types in fairseq's checkpoints besides tensors and plain Python types.

    Models without a dataclass, such as fairseq's own `lstm`, save an `argparse.Namespace` of plain
    values. Validation with `--eval-bleu` adds numpy arrays of n-gram counts, and that of a
    classifier with F1 a number of numpy. Loading these types runs no code.
    """
    reconstruct, scalar = numpy.empty(0).__reduce__()[0], numpy.float64().__reduce__()[0]
    numbers = [type(numpy.dtype(kind)) for kind in (numpy.int64, numpy.float64)]
    named = [  # numpy 1 and numpy 2 pickle them under different names
        (kind, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for kind, name in ((reconstruct, "_reconstruct"), (scalar, "scalar"))
    ]
    return [Namespace, numpy.ndarray, numpy.dtype, *numbers, reconstruct, scalar, *named]


def read(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """Load a checkpoint into host memory without running any code in it.

    With torch's variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1, code in it runs.

    Args:
        path: the file.
        mmap: leave the tensors on disk until they are used, if the file is of torch 1.6 or later.

    Raises:
        pickle.UnpicklingError: the file contains objects of other types.
        EOFError, OSError, RuntimeError: the file cannot be read.
    """
    known = torch.serialization.get_safe_globals()
    # `safe_globals` removes what it was given, so types that were known before must not be in it
    new = [kind for kind in allowed() if kind not in known]
    with torch.serialization.safe_globals(new):
        safe, mapped = not _trusted(), mmap and zipfile.is_zipfile(path)
        state: dict[str, Any] = torch.load(path, "cpu", weights_only=safe, mmap=mapped or None)
    return state


def _trusted() -> bool:
    """Whether the user has told torch to load any type, which may run code in a checkpoint."""
    given = os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "")
    return given.lower() in ("1", "y", "yes", "true")


def task_options(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of a checkpoint's task, and in old checkpoints all options.

    Args:
        state: the checkpoint, from `read`.
    """
    task = (state.get("cfg") or {}).get("task") or state.get("args")
    return vars(task) if isinstance(task, Namespace) else task or {}


def languages(options: Mapping[str, Any]) -> tuple[str, str] | None:
    """The source and the target language in the options of a task; None if it has none."""
    source, target = (options.get(f"{side}_lang") for side in ("source", "target"))
    return (source, target) if source and target else None


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None if it is intact. Every byte is checked.

    `torch.load` alone does not verify the checksums stored in a checkpoint.

    Raises:
        OSError: the file cannot be opened, which says nothing about its contents.
    """
    with path.open("rb") as file:
        if not file.read(1):
            return "it is empty"
    try:
        if zipfile.is_zipfile(path):  # otherwise truncated, or written by torch before 1.6
            with zipfile.ZipFile(path) as parts:
                broken = parts.testzip()
            if broken is not None:
                return f"the checksum of {broken} in it is wrong"
        state = read(path, mmap=True)  # testzip has read every byte, so map instead of copying
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found is None:
            return "it is not a checkpoint"
        return (
            f"it holds {found[1]}, which is neither a tensor nor a plain value; if you trust the "
            "file, set TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1"
        )
    except Exception as error:  # other files can raise anything
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        return f"it is truncated, or not a checkpoint ({first_line})"
    if not isinstance(state, dict) or "model" not in state:
        return "it is not a fairseq checkpoint"
    return None


def newest(folder: Path) -> tuple[Path, int] | None:
    """The intact, resumable checkpoint with the most updates, and its number of updates.

    Files that cannot be read are passed over; None if there is no such checkpoint.
    """
    found = []
    for path in folder.glob("checkpoint*.pt"):
        if (updates := _updates(path)) is not None:
            found.append((updates, path.stat().st_mtime_ns, path))
    for updates, _, path in sorted(found, reverse=True):
        if damage(path) is None:
            return path, updates
    return None


def _updates(path: Path) -> int | None:
    """The number of updates of a checkpoint, or None if training cannot resume from it."""
    try:
        state = read(path, mmap=True)
        if state.get("last_optimizer_state") is None:  # averaged, or saved without optimizer state
            return None
        return int(state["optimizer_history"][-1]["num_updates"])
    except Exception:  # a damaged file can raise anything
        return None
