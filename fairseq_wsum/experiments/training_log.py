"""What fairseq-train prints about a training."""

from __future__ import annotations

import re

VALID = re.compile(  # some tasks have no perplexity
    r"\| epoch 0*(\d+) \| valid on '(.*?)' subset"
    r"(?: .*?\| ppl ([0-9.]+(?:e[+-]?\d+)?|inf|nan))?"
)
EPOCHS = re.compile(r"'max_epoch': (\d+)")


def validations(log: str) -> list[tuple[int, str]]:
    """The epochs that were validated, each with the perplexity or an empty text.

    With several subsets, such as `--valid-subset valid,test`, it is that of the first.
    """
    found = VALID.findall(log)
    return sorted({int(epoch): ppl for epoch, name, ppl in found if name == found[0][1]}.items())


def last_epoch(log: str) -> int:
    """The epoch after which the training ends; 0 if not known."""
    # fairseq-generate, whose log a failure adds, says 0
    return max(map(int, EPOCHS.findall(log)), default=0)
