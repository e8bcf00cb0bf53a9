"""Where a program spends its time, from the output of torch's profiler."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# The parts of a step.
OUTPUT = "products of vocabulary size"  # the output layer
WIDE = "other operations of vocabulary size"  # softmax, loss and beam search
LAYERS = "other products and recurrences"
REST = "the rest"  # small operations and Python

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_linear_pointwise")
_RECURRENCES = ("mkldnn_rnn_layer", "fairseq_wsum::memory_cell", "fairseq_wsum::recurrence")
_ATTENTION = "_scaled_dot_product"  # its two products and its softmax
# The operators' names within those of their autograd nodes, whose own time counts as theirs.
_NODES = ("fairseq_wsum_memory_cell", "fairseq_wsum_recurrence")


@dataclass(frozen=True)
class Profile:
    """The seconds per step (an update, or a batch to translate) and of each of its parts."""

    step: float
    parts: dict[str, float]

    @classmethod
    def read(cls, path: Path, words: int) -> Profile:
        """Read the file that `child.py` wrote; `words` is the vocabulary size."""
        record = json.loads(path.read_text(encoding="utf-8"))
        parts = dict.fromkeys((OUTPUT, WIDE, LAYERS), 0.0)
        for name, shapes, seconds in record["operations"]:
            part = _part(name, shapes, words)
            if part:
                parts[part] += seconds
        return cls(record["step"], {**parts, REST: record["step"] - sum(parts.values())})


def _part(name: str, shapes: Sequence[Sequence[int]], words: int) -> str | None:
    """The part that an operation belongs to; None for the rest."""
    product = name.rpartition("::")[2] in _PRODUCTS
    if any(size and size % words == 0 for shape in shapes for size in shape):
        return OUTPUT if product else WIDE
    known = any(part in name for part in (*_RECURRENCES, *_NODES, _ATTENTION))
    return LAYERS if product or known else None


def rows(profiles: Mapping[str, Profile]) -> list[dict[str, str]]:
    """The rows of a table, in milliseconds."""
    return [
        {"model": name, "a step, ms": f"{1000 * profile.step:.0f}"}
        | {part: f"{1000 * seconds:.0f}" for part, seconds in profile.parts.items()}
        for name, profile in profiles.items()
    ]
