"""The table over a treebank, against sums written out word by word."""

import csv
import random
from dataclasses import replace

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
        heads, tags = random_tree(words, rng), rng.choices(["ADP", "DET", "NOUN", "PUNCT"], k=words)
        text = join_words(["<s>", *(f"w{k}" for k in range(words))], None)
        with torch.no_grad():
            traces = tuple(trace(layer, 3 * torch.randn(words + 1, 1, 3)))
        views = [View(side, 1, text, traces) for side in ("encoder", "decoder")]
        # a decoder's words have another tree
        syntax.add(Sentence(tuple(views), text, text, None), heads, tags)
        own = [norms(one)[1:, 1:, 0].numpy() for one in traces]
        sentences.append((*own, heads, tags))
    return written(syntax, tmp_path_factory.mktemp("table")), sentences


def written(syntax, folder):
    path = folder / "syntax.tsv"
    syntax.write(path)
    with path.open() as file:
        return [*csv.DictReader(file, delimiter="\t")]


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
        ("function", lambda k, heads, tags: tags[k] in ("ADP", "DET")),
        ("relating", lambda k, heads, tags: tags[k] == "ADP"),
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


def test_the_intervals_are_those_of_means_over_sentences(tmp_path) -> None:
    """1.96 * 0.5 / sqrt(100), also with two words in each sentence, which are kept or not."""
    syntax, layer = Syntax(), WsumLSTM(3, 1, cell="no-srnn-hidden")
    with torch.no_grad():
        (one,) = trace(layer, torch.randn(4, 1, 3))
    text = join_words(["a", "b", "c", "d"], None)
    for k in range(100):
        f = torch.tensor([1.0, 1.0, k % 2, k % 2]).view(4, 1, 1)
        own = replace(one, input_gates=torch.ones(4, 1, 1), forget_gates=f)
        view = View("encoder", 1, text, (own,))
        # d is the root, with a and c below; the constituent of a ends with b
        syntax.add(Sentence((view,), text, text, None), [4, 1, 4, 0], ["NOUN"] * 4)
    rows = written(syntax, tmp_path)
    for measure, words, number in (("kept_1", "no heads", 200), ("leaving", "end", 100)):
        assert find(rows, "forward", measure, words) == (0.5, number)
        (row,) = [row for row in rows if (row["measure"], row["words"]) == (measure, words)]
        assert float(row["low"]) == pytest.approx(0.402, abs=0.015)
        assert float(row["high"]) == pytest.approx(0.598, abs=0.015)
