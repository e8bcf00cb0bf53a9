"""The table over a treebank, against sums written out word by word."""

import csv
import random

import numpy as np
import pytest

pytest.importorskip("fairseq")
import torch
from treebanks import random_tree

from fairseq_wsum import WsumLSTM
from fairseq_wsum.weights import norms, trace
from fairseq_wsum.weights.sentences import Sentence, View, join_words
from fairseq_wsum.weights.syntax import Syntax, ends


def below(heads, word):
    """A word and all words below it in a tree; words from 0, the head of the root is -1."""
    found = {word}
    for k, head in enumerate(heads):
        if head == word:
            found |= below(heads, k)
    return found


def test_the_ends_of_constituents() -> None:
    rng = random.Random(1)
    for words in range(1, 9):
        heads = [head - 1 for head in random_tree(words, rng)]
        assert ends(heads) == [max(below(heads, word)) for word in range(words)]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The table of some random sentences, and for each the norms, the tree and the tags."""
    torch.manual_seed(1)
    rng, syntax, sentences = random.Random(1), Syntax(), []
    layer = WsumLSTM(3, 4, bidirectional=True, cell="no-srnn-hidden")
    for words in (1, 2, 5, 7, 8, 9, 9):
        heads, tags = random_tree(words, rng), rng.choices(["ADP", "NOUN", "PUNCT"], k=words)
        text = join_words(["<s>", *(f"w{k}" for k in range(words))], None)
        with torch.no_grad():
            traces = tuple(trace(layer, 3 * torch.randn(words + 1, 1, 3)))
        views = [View(side, 1, text, traces) for side in ("encoder", "decoder")]
        # a decoder's words have another tree
        syntax.add(Sentence(tuple(views), text, text, None), heads, tags)
        own = [norms(one)[1:, 1:, 0].numpy() for one in traces]
        sentences.append((*own, heads, tags))
    path = tmp_path_factory.mktemp("table") / "syntax.tsv"
    syntax.write(path)
    with path.open() as file:
        rows = [*csv.DictReader(file, delimiter="\t")]
    return rows, sentences


def find(rows, direction, measure, words):
    (row,) = [  # of the encoder alone
        row
        for row in rows
        if (row["direction"], row["measure"], row["words"]) == (direction, measure, words)
    ]
    assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])
    return float(row["mean"]), int(row["number"])


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        ("function", lambda k, heads, tags: tags[k] == "ADP"),
        ("content", lambda k, heads, tags: tags[k] == "NOUN"),
        ("heads", lambda k, heads, tags: k + 1 in heads),
        ("no heads", lambda k, heads, tags: k + 1 not in heads),
    ],
)
def test_what_is_kept_of_words(words, chosen, table) -> None:
    rows, sentences = table
    shares = [
        w[k + 2, k] / w[k, k]
        for w, _, heads, tags in sentences
        for k in range(len(heads) - 2)
        if chosen(k, heads, tags)
    ]
    assert find(rows, "forward", "kept_2", words) == (
        pytest.approx(np.mean(shares), rel=1e-3),
        len(shares),
    )


def test_the_backward_direction_reads_from_the_end(table) -> None:
    rows, sentences = table
    shares = [
        w[k - 1, k] / w[k, k]
        for _, w, heads, _ in sentences
        for k in range(1, len(heads))
        if k + 1 in heads
    ]
    mean, number = find(rows, "backward", "kept_1", "heads")
    assert (mean, number) == (pytest.approx(np.mean(shares), rel=1e-3), len(shares))


def test_what_leaves_with_the_end_of_a_constituent(table) -> None:
    rows, sentences = table
    groups = {"end": {}, "inside": {}, "no head": {}, "no head, at an end": {}}
    for w, _, heads, _ in sentences:
        zero = [head - 1 for head in heads]
        last = [max(below(zero, k)) for k in range(len(zero))]
        closing = {end for k, end in enumerate(last) if end != k}
        for k in range(len(zero)):
            for t in range(k + 1, len(zero) - 1):
                share = w[t + 1, k] / w[t, k]
                if k not in zero:
                    chosen = ["no head"] + ["no head, at an end"] * (t in closing)
                else:
                    chosen = ["end"] if t == last[k] else ["inside"] if t < last[k] else []
                for group in chosen:
                    groups[group].setdefault(t - k, []).append(share)
    for group, shares in groups.items():
        distances = groups["end"].keys() & shares.keys()
        sizes = [len(groups["end"][d]) for d in distances]
        mean = np.average([np.mean(shares[d]) for d in distances], weights=sizes)
        found, number = find(rows, "forward", "leaving", group)
        assert (found, number) == (pytest.approx(mean, rel=1e-3), sum(map(len, shares.values())))
