"""Exact match and F1 of answers, as the official program of SQuAD 1.1 defines them."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

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


def scores(answers: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """F1 and EM in percent, means over all questions; one without an answer counts as wrong.

    Args:
        answers: the answer to each question, by its id.
        references: the reference answers to each question.
    """
    found = {"F1": 0.0, "EM": 0.0}
    for name, own in references.items():
        if name in answers:
            found["F1"] += f1(answers[name], own)
            found["EM"] += exact_match(answers[name], own)
    return {name: 100 * total / len(references) for name, total in found.items()}
