"""Where the time of a program goes, from what torch's profiler saw of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Parts of a step, each with what is in it.
OUTPUT = "products as wide as the vocabulary"  # the output layer
WIDE = "the rest of that width"  # softmax and loss; beams
LAYERS = "other products and recurrences"
REST = "the rest"  # small operations, and Python

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_linear_pointwise")
_RECURRENCES = ("mkldnn_rnn_layer", "fairseq_wsum::gated_sum", "fairseq_wsum::recurrence")
# An operator's name within that of its node in the graph, which its own time is counted to.
_NODES = ("fairseq_wsum_gated_sum", "fairseq_wsum_recurrence")


@dataclass(frozen=True)
class Profile:
    """How long a step takes, an update or a batch to translate, and its parts, in seconds."""

    step: float
    parts: dict[str, float]

    @classmethod
    def read(cls, path: Path, words: int) -> Profile:
        """From the file that `child.py` wrote, for a vocabulary of so many words."""
        record = json.loads(path.read_text(encoding="utf-8"))
        parts = dict.fromkeys((OUTPUT, WIDE, LAYERS), 0.0)
        for name, shapes, seconds in record["operations"]:
            part = _part(name, shapes, words)
            if part:
                parts[part] += seconds
        return cls(record["step"], {**parts, REST: record["step"] - sum(parts.values())})


def _part(name: str, shapes: Sequence[Sequence[int]], words: int) -> str | None:
    """Which part an operation belongs to, if it is not of the rest."""
    product = name.rpartition("::")[2] in _PRODUCTS
    if any(size and size % words == 0 for shape in shapes for size in shape):
        return OUTPUT if product else WIDE
    recurs = any(known in name for known in (*_RECURRENCES, *_NODES))
    return LAYERS if product or recurs else None


def rows(profiles: Mapping[str, Profile]) -> list[dict[str, str]]:
    """For a table, in milliseconds."""
    return [
        {"model": name, "a step, ms": f"{1000 * profile.step:.0f}"}
        | {part: f"{1000 * seconds:.0f}" for part, seconds in profile.parts.items()}
        for name, profile in profiles.items()
    ]
