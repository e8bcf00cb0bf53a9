"""Dependency trees: the best one, compared with all trees of small graphs."""

import itertools

import numpy as np
import pytest

pytest.importorskip("ufal.chu_liu_edmonds")
pytest.importorskip("fairseq")
from fairseq_wsum.plugin.modules.trees import best_tree, why_no_tree


def is_tree(heads: tuple[int, ...]) -> bool:
    """Whether all words reach the root, and one of them directly."""
    for word in range(1, len(heads) + 1):
        place = word
        for _ in heads:
            place = heads[place - 1] if place else 0
        if place:
            return False
    return heads.count(0) == 1


@pytest.mark.parametrize("words", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("favoured", [0.0, 3.0], ids=["plain", "many-roots"])
def test_the_best_tree_is_the_best_of_all_trees(words, favoured) -> None:
    rng = np.random.default_rng(words)
    trees = [*filter(is_tree, itertools.product(range(words + 1), repeat=words))]
    for _ in range(20):
        scores = rng.normal(size=(words + 1, words + 1))
        scores[:, 0] += favoured  # greedy choices then have several roots
        total = lambda heads, s=scores: sum(s[k, head] for k, head in enumerate(heads, 1))  # noqa: E731
        assert total(best_tree(scores)) == pytest.approx(max(map(total, trees)))


def test_what_is_a_tree() -> None:
    for heads in itertools.product(range(4), repeat=3):
        assert (why_no_tree(heads) is None) == is_tree(heads)
