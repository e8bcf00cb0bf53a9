"""`fairseq-wsum negation`: what "not" does to the memory of a trained classifier of sentiment."""

from __future__ import annotations

import argparse
import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import UserError, script_parser, user_dir
from .sentiment_trees import NEGATORS, Negation, negations, read_trees

if TYPE_CHECKING:
    from ..weights.models import Reader
    from ..weights.trace import Trace

DESCRIPTION = """\
Compare gates and memory at words that turn the sentiment of a phrase ("not good"), at the same
words where they turn none, and at function words that are about as frequent (0.5 to 2 times as
often in the training text) in the same sentences; then the same phrases with and without the
negator. The numbers are those of the first layer's forward direction: means over sentences, with
95 %% bootstrap intervals."""
EPILOG = """\
example:
  fairseq-wsum negation runs/sst/2/lstm/epochs-3-seed-1/checkpoint_best.pt \\
      --trees runs/sst/data-2/trees/valid.txt runs/sst/data-2/trees/test.txt"""
FUNCTION_WORDS = set(
    re.findall(
        r"\w+",
        """
    a about after all also although an and any are as at be because been before being between both
    but by can could did do does during each either else ever every for from had has have he her
    here him his how i if in into is it its itself just many may me might more most much must my
    now of off on once one only or other our out over own s she should since so some still such
    than that the their them then there these they this those though through to too under until up
    us very was we were what when where which while who whom whose why will with would yet you your
""",
    )
)
FREQUENT = 2.0  # how many times as frequent as the negator, or the reverse, a function word may be
SAMPLES = 2000  # of the bootstrap
GROUPS = ("turns the sign", "turns none", "function words", "difference")
AT_WORD = {
    "forget": "forget gate, mean over units",
    "input": "input gate, mean over units",
    "kept": "norm of the weights of all earlier words, after / before the word",
    "change": "change of the memory, norm relative to the memory before the word",
}
AFTER = {
    "forget": "forget gate at the words of the phrase, with - without negator",
    "input": "input gate at the words of the phrase, with - without negator",
    "earlier": "norm of the weights of words before the negator, at the end, with / without",
    "memory": "memory at the end of the phrase, norm of (with - without) / norm without",
    "positive": "log-odds of positive, with - without negator: positive phrases",
    "negative": "log-odds of positive, with - without negator: negative phrases",
    "right positive": "positive phrases read as positive alone and as negative with negator, share",
    "right negative": "negative phrases read as negative alone and as positive with negator, share",
}
Values = dict[tuple[str, str], list[float]]  # by measure and group, a mean for each sentence


def main(given: Sequence[str]) -> None:
    """Print the tables of a checkpoint."""
    parser = script_parser("fairseq-wsum negation", DESCRIPTION, EPILOG)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a classifier")
    help = "sentences as trees, as in the Stanford Sentiment Treebank"
    parser.add_argument("--trees", type=Path, nargs="+", required=True, metavar="FILE", help=help)
    parser.add_argument("--user-dir", type=user_dir, help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    logging.basicConfig(level=logging.WARNING)  # before fairseq makes all libraries log everything
    from tabulate import tabulate

    from ..weights.models import Reader

    trees = [tree for path in args.trees for tree in read_trees(path)]
    try:
        reader = Reader(args.checkpoint, user_dir=args.user_dir and Path(args.user_dir))
    except ValueError as error:
        raise UserError(str(error)) from error
    if not getattr(reader.model, "classification_heads", None):
        raise UserError(f"{args.checkpoint} is no model of --arch wsum_classifier")
    at_word: Values = defaultdict(list)
    after: Values = defaultdict(list)
    for tree in trees:
        if found := [one for one in negations(tree) if one.negator > 0]:
            _add(at_word, _at_words(reader, tree.words, found))
            for one in found:
                if one.turns:
                    _add(after, _after(reader, tree.words, one))
    rows = [[AT_WORD[name], *(shown(at_word[name, group]) for group in GROUPS)] for name in AT_WORD]
    sizes = [f"{group} (n = {len(at_word['forget', group])})" for group in GROUPS]
    print(tabulate(rows, ["at the word", *sizes], "pipe", disable_numparse=True), end="\n\n")
    rows = [[AFTER[name], shown(after[name, ""]), str(len(after[name, ""]))] for name in AFTER]
    print(tabulate(rows, ["with the negator and without it", "mean", "n"], "pipe"))


def shown(values: Sequence[float]) -> str:
    """The mean of a number for each sentence, with its 95 % interval."""
    import numpy

    if not values:
        return "-"
    found = numpy.array(values)
    draws = numpy.random.default_rng(1).integers(len(found), size=(SAMPLES, len(found)))
    low, high = numpy.percentile(found[draws].mean(1), [2.5, 97.5])
    return f"{found.mean():.3f} [{low:.3f}, {high:.3f}]"


def _add(values: Values, found: Iterator[tuple[str, str, float]]) -> None:
    """Add the means of what a sentence has for each measure and group."""
    own: Values = defaultdict(list)
    for name, group, value in found:
        own[name, group].append(value)
    means = {key: sum(several) / len(several) for key, several in own.items()}
    for name in {name for name, _ in means}:
        turning, others = (means.get((name, group)) for group in (GROUPS[0], GROUPS[2]))
        if turning is not None and others is not None:
            means[name, GROUPS[3]] = turning - others
    for key, mean in means.items():
        values[key].append(mean)


def _at_words(
    reader: Reader, words: Sequence[str], found: Sequence[Negation]
) -> Iterator[tuple[str, str, float]]:
    """What a sentence's negators and function words do to the memory, by measure and group."""
    trace = _trace(reader, words)
    counts = reader.vocabularies["encoder"].counts() or {}
    groups = {one.negator: GROUPS[0 if one.turns else 1] for one in found}
    for one in found:
        number = counts.get(words[one.negator], 0)
        for k, word in enumerate(words):
            near = number / FREQUENT <= counts.get(word, 0) <= number * FREQUENT
            if one.turns and k > 0 and near and word in FUNCTION_WORDS and word not in NEGATORS:
                groups[k] = GROUPS[2]
    for k, group in groups.items():
        f, i, c = (x[:, 0] for x in (trace.forget_gates, trace.input_gates, trace.cells))
        norms = _norms(trace)
        yield "forget", group, f[k].mean().item()
        yield "input", group, i[k].mean().item()
        yield "kept", group, (norms[k, :k].norm() / norms[k - 1, :k].norm()).item()
        yield "change", group, ((c[k] - c[k - 1]).norm() / c[k - 1].norm()).item()


def _after(reader: Reader, words: Sequence[str], one: Negation) -> Iterator[tuple[str, str, float]]:
    """What the words of a phrase do after a negator, compared to without it."""
    n, end = one.negator, one.end
    with_, without = _trace(reader, words), _trace(reader, [*words[:n], *words[n + 1 :]])
    for name in ("forget", "input"):
        gates = (getattr(trace, f"{name}_gates")[:, 0] for trace in (with_, without))
        a, b = gates
        yield name, "", (a[n + 1 : end] - b[n : end - 1]).mean().item()
    earlier = _norms(with_)[end - 1, :n].norm() / _norms(without)[end - 2, :n].norm()
    yield "earlier", "", earlier.item()
    a, b = with_.cells[end - 1, 0], without.cells[end - 2, 0]
    yield "memory", "", ((a - b).norm() / b.norm()).item()
    phrase, whole = (_log_odds(reader, words[k:end]) for k in (n + 1, n))
    kind = "positive" if one.phrase.side > 0 else "negative"
    yield kind, "", whole - phrase
    yield f"right {kind}", "", float(phrase * one.phrase.side > 0 > whole * one.phrase.side)


def _trace(reader: Reader, words: Sequence[str]) -> Trace:
    """The forward direction of the first layer on a sentence."""
    (sentence,) = reader.sentences([reader.encode(" ".join(words))])
    trace: Trace = sentence.views[0].directions[0]
    return trace


def _norms(trace: Trace) -> Any:
    """The norms of the weights, step of the memory x step of the word."""
    from ..weights.weighted_sum import norms

    return norms(trace)[:, :, 0]


def _log_odds(reader: Reader, words: Sequence[str]) -> float:
    """log p(positive) - log p(negative) of a phrase."""
    import torch

    (head,) = reader.model.classification_heads
    tokens = reader.encode(" ".join(words))["encoder"].indices.unsqueeze(0)
    with torch.no_grad():
        scores, _ = reader.model(tokens, classification_head_name=head)
    half = scores.size(1) // 2  # with five classes the one in the middle is neutral
    return (scores[0, -half:].logsumexp(0) - scores[0, :half].logsumexp(0)).item()


if __name__ == "__main__":
    from .files import run_module

    run_module("fairseq_wsum.experiments.negation")
