"""`Syntax`: what the memory keeps of heads, dependents, function and content words of a treebank.

In the paper's picture of a parser, function words stay in memory, and a head stays to the end of
its constituent (Levy et al., ACL 2018, figure 1). Here both are measured over a corpus.

Words are numbered from 0 in the order in which a direction reads them. W[t, j] is the norm of the
weight of word j after word t, n x n.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy
from numpy.typing import NDArray

from ..files import whole
from .sentences import BOUNDARIES, Sentence, Text, join_norms
from .trace import Trace
from .weighted_sum import norms

Array = NDArray[numpy.floating]
# of a sentence, by measure and group: a sum and a number by distance
Sums = dict[tuple[str, str], Array]

FUNCTION = {"ADP", "AUX", "CCONJ", "DET", "PART", "PRON", "SCONJ"}  # closed classes of UD
RELATING = FUNCTION - {"DET", "PRON"}  # those that mark how words relate: "in", "that", "and"
CONTENT = {"ADJ", "ADV", "INTJ", "NOUN", "NUM", "PROPN", "VERB"}
CLASSES = {"function": FUNCTION, "relating": RELATING, "content": CONTENT}
LATER = (1, 2, 4, 8)  # numbers of words after which the remaining norm is measured
FARTHEST = 20  # words between a head and the end of its constituent
SAMPLES = 1000  # of the bootstrap
SMALL = 1e-6  # a norm of which no share is taken
KEPT = tuple(f"kept_{k}" for k in LATER)
# at one step each: the share of its norm that a word keeps, by the distance that it has reached
END, INSIDE, NO_HEAD, NO_HEAD_AT_END = "end", "inside", "no head", "no head, at an end"
HEADER = ["side", "layer", "direction", "measure", "words", "mean", "low", "high", "number"]


class Syntax:
    """A table over the sentences of a treebank, for each layer and direction."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int, str], list[Sums]] = defaultdict(list)  # by place

    def add(self, sentence: Sentence, heads: Sequence[int], tags: Sequence[str]) -> None:
        """Add a sentence with its tree.

        Args:
            sentence: its traces; the words that were given must be those of the tree.
            heads: the head of each word, from 1; 0 for the root.
            tags: the UPOS of each word.
        """
        for view in sentence.given_views:
            for trace in view.directions:
                order = slice(None, None, -1 if trace.reverse else 1)
                weights = _of_words(trace, view.text)[order, order]
                sums = _sums(weights, *_read_in_order(heads, tags, trace.reverse))
                self._sums[view.side, view.layer, trace.direction].append(sums)

    def write(self, path: Path) -> None:
        """Write the table, text with tabs between the columns.

        Each row has the mean of a measure over some words, the 95 % interval of a bootstrap over
        sentences, and the number of occurrences.

        - `kept_4`: the norm of a word's weight four words later, as a share of that at the word.
          The words: `function` and `content` by UPOS; `relating`, function words but determiners
          and pronouns; `heads`, which have dependents, and `no heads`.
        - `leaving`: the norm after the next word, as a share of that before. `end`: of a head whose
          constituent has ended, with a word after it. The others have the distances of `end` from
          the word, in equal shares: `inside`, of the same heads before that end; `no head`, of
          words without dependents; and `no head, at an end`, of these where the constituent of a
          head that was read before ends.
        """
        with whole(path) as partial, partial.open("w", encoding="utf-8") as file:
            file.write("\t".join(HEADER) + "\n")
            for place, sentences in self._sums.items():
                for measure, group, values, number in _rows(sentences):
                    numbers = (f"{value:.4g}" for value in values)
                    row = (*map(str, place), measure, group, *numbers, str(number))
                    file.write("\t".join(row) + "\n")


def _of_words(trace: Trace, text: Text) -> Array:
    """The norms of the weights, t x j, of the words of a sentence without its boundaries."""
    joined = join_norms(norms(trace)[..., 0], text, trace.reverse).double().numpy()
    words = [k for k, word in enumerate(text.words) if word not in BOUNDARIES]
    return joined[numpy.ix_(words, words)]


def _read_in_order(
    heads: Sequence[int], tags: Sequence[str], reverse: bool
) -> tuple[list[int], list[str]]:
    """The head of each word, -1 for the root, and its tag, in the order of a direction."""
    if not reverse:
        return [head - 1 for head in heads], list(tags)
    last = len(heads)
    return [last - head if head else -1 for head in heads[::-1]], list(tags[::-1])


def ends(heads: Sequence[int]) -> list[int]:
    """The last word of the constituent of each word: of itself and all below it in the tree."""
    found = [*range(len(heads))]
    for word in range(len(heads)):
        above = heads[word]
        while above >= 0:
            found[above] = max(found[above], word)
            above = heads[above]
    return found


def _sums(weights: Array, heads: Sequence[int], tags: Sequence[str]) -> Sums:
    """Those of a sentence: W, and what `_read_in_order` returns."""
    sums: Sums = {}

    def count(measure: str, group: str, distance: int, j: int, before: int, after: int) -> None:
        if after < len(weights) and weights[before, j] > SMALL:
            share = weights[after, j] / weights[before, j]
            found = sums.setdefault((measure, group), _none(measure))
            found[:, distance] += share, 1

    has_dependents, last = {*heads}, ends(heads)
    closing = {end for j, end in enumerate(last) if end > j}
    for j, (tag, end) in enumerate(zip(tags, last, strict=True)):
        groups = ["heads" if j in has_dependents else "no heads"]
        for group, own in CLASSES.items():
            groups += [group] * (tag in own)
        for k, measure in zip(LATER, KEPT, strict=True):
            for group in groups:
                count(measure, group, 0, j, j, j + k)
        for t in range(j + 1, min(j + FARTHEST, len(heads) - 1) + 1):
            if j not in has_dependents:
                count("leaving", NO_HEAD, t - j, j, t, t + 1)
                if t in closing:
                    count("leaving", NO_HEAD_AT_END, t - j, j, t, t + 1)
            elif t <= end:
                count("leaving", END if t == end else INSIDE, t - j, j, t, t + 1)
    return sums


def _rows(sentences: Sequence[Sums]) -> Iterator[tuple[str, str, list[float], int]]:
    """Measure, group, mean with its interval, and number, of each row."""
    names = sorted({name for sums in sentences for name in sums})
    size = len(sentences)
    rng = numpy.random.default_rng(1)
    drawn = rng.multinomial(size, numpy.full(size, 1 / size), SAMPLES)
    drawn = numpy.vstack([numpy.ones(size, int), drawn])  # first all sentences, once each
    sampled: Sums = {}
    for name in names:
        every = numpy.stack([sums.get(name, _none(name[0])) for sums in sentences])
        sampled[name] = numpy.einsum("rs,skd->krd", drawn, every)  # sums and numbers
    end = sampled.get(("leaving", END))
    for (measure, group), (total, number) in sampled.items():
        count = int(number[0].sum())
        if measure != "leaving":
            yield measure, group, _interval(_mean(total.sum(1), number.sum(1))), count
        elif end is not None:
            # weights by distance; a distance that a group does not have counts for neither
            own = end[1] * (number > 0)
            if own[0].any():
                mean = numpy.where(own > 0, own * _mean(total, number), 0).sum(1)
                yield measure, group, _interval(_mean(mean, own.sum(1))), count


def _none(measure: str) -> Array:
    """Sum and number by distance; only `leaving` has several."""
    return numpy.zeros((2, FARTHEST + 1 if measure == "leaving" else 1))


def _mean(total: Array, number: Array) -> Array:
    """NaN where there is none."""
    return total / numpy.where(number > 0, number, numpy.nan)


def _interval(values: Array) -> list[float]:
    """The first value, of all sentences, and the 95 % interval of the others."""
    low, high = numpy.nanquantile(values[1:], [0.025, 0.975])
    return [float(values[0]), float(low), float(high)]
