"""Exact match and F1 of answers, as the official program of SQuAD 1.1 defines them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(answer: str) -> list[str]:
    """The words of an answer in lower case, without ASCII punctuation and English articles."""
    text = answer.lower().translate(PUNCTUATION)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 if the answer equals a reference, both normalised; else 0."""
    return float(any(normalised(answer) == normalised(one) for one in references))


def f1(answer: str, references: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of the normalised words; the best reference."""
    return max(_f1(normalised(answer), normalised(one)) for one in references)


def _f1(answer: list[str], reference: list[str]) -> float:
    same = (Counter(answer) & Counter(reference)).total()
    return 2 * same / (len(answer) + len(reference)) if same else 0.0


def scores(pairs: Sequence[tuple[str, Sequence[str]]]) -> dict[str, float]:
    """F1 and EM in percent, means over pairs of an answer and its references."""
    measures = {"F1": f1, "EM": exact_match}
    return {name: 100 * fmean(one(*pair) for pair in pairs) for name, one in measures.items()}
