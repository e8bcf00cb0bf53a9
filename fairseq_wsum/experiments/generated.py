"""The output of fairseq-generate, in the order of the text."""

from __future__ import annotations

import re

from .files import UserError

# fairseq-generate's log of a sentence that is longer than the model accepts
TOO_LONG = re.compile(r"(Size of sample #\d+ is invalid .*), skip this example")


def tagged(printed: list[str], tag: str) -> dict[int, str]:
    """The last column of the lines `TAG-number<TAB>...`; the first line counts for each number."""
    found: dict[int, str] = {}
    for line in printed:
        if match := re.match(rf"{tag}-(\d+)\t", line):
            found.setdefault(int(match[1]), line.rpartition("\t")[2])
    return found


def arrange(found: dict[int, str], expected: int, what: str) -> list[str]:
    """Sort into the order of the text, and check that none is missing."""
    if sorted(found) != list(range(expected)):
        missing = [i for i in range(expected) if i not in found]
        extra = [i for i in found if i >= expected]
        raise UserError(
            f"fairseq-generate gave {len(found)} {what} for {expected} sentences "
            f"(missing: {some(missing)}; too many: {some(extra)}; counted from 0). Leave out "
            "options such as --quiet, --results-path, --max-tokens, --num-shards and "
            "--skip-invalid-size-inputs-valid-test, and check that the model was trained on this "
            "data folder"
        )
    return [found[i] for i in range(expected)]


def some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (" ..." if len(numbers) > 5 else "") or "none"
