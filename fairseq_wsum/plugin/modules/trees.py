"""Dependency trees with one root: the best one of a matrix of scores, and what is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_tree(scores: np.ndarray) -> list[int]:
    """The tree with one root whose arcs have the highest sum of scores.

    Among all trees with any number of roots, `ufal.chu_liu_edmonds` finds the best (Chu and Liu,
    1965; Edmonds, 1967). Before that a number is subtracted from all arcs of the root, so large
    that no tree with two of them is the best (Stanojević and Cohen, 2021).

    Args:
        scores: T x T, dependents by heads; 0 is the root.

    Returns:
        The heads of words 1 to T - 1.
    """
    from ufal.chu_liu_edmonds import chu_liu_edmonds

    # in a training that diverges they are NaN or infinite; fairseq reports it after the validation
    scores = np.nan_to_num(np.array(scores, dtype=np.float64)).clip(-1e9, 1e9)
    scores[1:, 0] -= len(scores) * np.ptp(scores[1:]) + 1
    scores[0] = -np.inf
    np.fill_diagonal(scores, -np.inf)
    heads, _ = chu_liu_edmonds(scores)
    return [int(head) for head in heads[1:]]


def why_no_tree(heads: Sequence[int]) -> str | None:
    """What is wrong with the heads of a sentence, or None if they are a tree with one root."""
    for word, head in enumerate(heads, start=1):
        if not 0 <= head <= len(heads) or head == word:
            return f"word {word} has the head {head}"
    if (roots := heads.count(0)) != 1:
        return f"{roots} words have the head 0; a tree has one root"
    above, below = {0}, {*range(1, len(heads) + 1)}  # what reaches the root, and the others
    while above:
        above = {word for word in below if heads[word - 1] in above}
        below -= above
    return f"the heads of word {min(below)} form a cycle" if below else None
