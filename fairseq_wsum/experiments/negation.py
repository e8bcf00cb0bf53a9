"""`fairseq-wsum negation`: what "not" does to the memory of a trained classifier of sentiment."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..weights.trace import Trace
from ..weights.weighted_sum import norms
from .corpora.sentiment_trees import Negation, Tree, negations, read_trees
from .program import UserError, script_parser

if TYPE_CHECKING:  # it imports fairseq, which takes seconds
    from ..weights.reader import Reader

DESCRIPTION = """\
Compare gates and memory at words that turn the sentiment of a phrase ("not good"), at the same
words where they turn none, and at function words that are about as frequent (0.5 to 2 times as
often in the training text) in the same sentences; then the same phrases with and without the
negator. The numbers are those of the first layer's forward direction: means over sentences, with
95 % bootstrap intervals."""
EPILOG = """\
example:
  fairseq-wsum negation runs/sst/2/lstm/epochs-2-seed-1/checkpoint_best.pt \\
      --trees runs/sst/data-2/trees/valid.txt runs/sst/data-2/trees/test.txt"""
FUNCTION_WORDS = """
a about after all also although an and any are as at be because been before being between both but
by can could did do does during each either else ever every for from had has have he her here him
his how i if in into is it its itself just many may me might more most much must my now of off on
once one only or other our out over own she should since so some still such than that the their them
then there these they this those though through to too under until up us very was we were what when
where which while who whom whose why will with would yet you your
"""
SAMPLES = 2000  # of the bootstrap
TURNS, OTHERS, FUNCTION = "turns the sign", "turns none", "function words"
SENTIMENT = "words with a sentiment"
AT_WORD = {
    "forget": "forget gate, mean over units",
    "input": "input gate, mean over units",
    "kept": "weights of all earlier words, norm after / before the word",
    "change": "change of the memory, norm relative to the memory before",
}
AFTER = {  # with and without the negator
    "forget": "forget gate at the words of the phrase, difference",
    "input": "input gate at the words of the phrase, difference",
    "earlier": "weights of the words before the negator, at the end of the phrase, ratio of norms",
    "memory": "memory at the end of the phrase, norm of the difference, relative",
    "odds 1": "log-odds of positive, difference: positive phrases",
    "odds -1": "log-odds of positive, difference: negative phrases",
    "turned 1": "share that the model turns: positive phrases",
    "turned -1": "share that the model turns: negative phrases",
}
Values = dict[tuple[str, str], list[float]]  # by measure and group, a mean for each sentence


def main(given: Sequence[str]) -> None:
    """Print the tables of a checkpoint."""
    parser = script_parser("fairseq-wsum negation", DESCRIPTION, EPILOG)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a classifier")
    help = "sentences as trees, as in the Stanford Sentiment Treebank"
    parser.add_argument("--trees", type=Path, nargs="+", required=True, metavar="FILE", help=help)
    help = "the prepared data, if it has moved since the training"
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=help)
    help = "a folder with code of your own, such as a cell"
    parser.add_argument("--user-dir", type=Path, metavar="FOLDER", help=help)
    args = parser.parse_args(given)
    logging.basicConfig(level=logging.WARNING)  # before fairseq makes all libraries log everything
    from tabulate import tabulate

    from ..weights.reader import Reader

    trees = [tree for path in args.trees for tree in read_trees(path)]
    try:
        reader = Reader(args.checkpoint, data=args.data, user_dir=args.user_dir)
        if not getattr(reader.model, "classification_heads", None):
            raise ValueError(f"{args.checkpoint} is no model of --arch wsum_classifier")
        first, number = reader.task.label_dictionary.nspecial, reader.task.cfg.num_classes
        classes = reader.task.label_dictionary.symbols[first : first + number]
        if classes not in (["0", "1"], [*"01234"]):  # from negative to positive
            raise ValueError(
                f"{args.checkpoint} has the classes {', '.join(classes)}; negation needs those of "
                "`fairseq-wsum prepare sentiment`, 0 and 1, or 0 to 4"
            )
        values = measured(reader, trees)
        if not values:
            raise ValueError("no tree of --trees has a negator, an English word such as `not`")
    except ValueError as error:
        raise UserError(str(error)) from error
    groups = (TURNS, OTHERS, FUNCTION, SENTIMENT)
    sizes = [f"{group}, n = {len(values['forget', group])}" for group in groups]
    rows = [[AT_WORD[name], *(shown(values[name, group]) for group in groups)] for name in AT_WORD]
    print(tabulate(rows, ["at the word", *sizes], "pipe", disable_numparse=True), end="\n\n")
    rows = [[AFTER[name], shown(values[name, ""]), str(len(values[name, ""]))] for name in AFTER]
    print(tabulate(rows, ["with and without the negator", "mean", "n"], "pipe"))


def measured(reader: Reader, trees: Sequence[Tree]) -> Values:
    """What happens in the sentences with a negator.

    Raises:
        ValueError: the model's memory is not finite.
    """
    values: Values = defaultdict(list)
    for tree in trees:
        if found := [one for one in negations(tree) if one.negator > 0]:
            own: Values = defaultdict(list)
            for name, group, value in _sentence(reader, tree, found):
                own[name, group].append(value)
            for key, several in own.items():
                values[key].append(sum(several) / len(several))
    return values


def shown(values: Sequence[float]) -> str:
    """The mean of a number for each sentence, with its 95 % interval."""
    import numpy

    if not values:
        return "-"
    found = numpy.array(values)
    draws = numpy.random.default_rng(1).integers(len(found), size=(SAMPLES, len(found)))
    low, high = numpy.percentile(found[draws].mean(1), [2.5, 97.5])
    return f"{found.mean():.3f} [{low:.3f}, {high:.3f}]"


def _sentence(
    reader: Reader, tree: Tree, found: Sequence[Negation]
) -> Iterator[tuple[str, str, float]]:
    """What happens in a sentence: measure, group and value."""
    words, leaves = tree.words, [one for one in tree.phrases() if not one.children]
    trace = _trace(reader, words)
    counts = reader.vocabularies["encoder"].counts() or {}
    groups = {one.negator: TURNS if one.turns else OTHERS for one in found}
    often = [counts.get(words[n], 0) for n, group in groups.items() if group == TURNS]
    for k, word in enumerate(words):
        near = any(number / 2 <= counts.get(word, 0) <= 2 * number for number in often)
        if near and k > 0 and word in FUNCTION_WORDS.split():
            groups[k] = FUNCTION
        elif k > 0 and leaves[k].side:
            groups.setdefault(k, SENTIMENT)
    f, i, c = (x[:, 0] for x in (trace.forget_gates, trace.input_gates, trace.cells))
    weights = norms(trace)[:, :, 0]
    for k, group in groups.items():
        yield "forget", group, f[k].mean().item()
        yield "input", group, i[k].mean().item()
        yield "kept", group, (weights[k, :k].norm() / weights[k - 1, :k].norm()).item()
        yield "change", group, ((c[k] - c[k - 1]).norm() / c[k - 1].norm()).item()
    for one in found:
        if not one.turns:
            continue
        n, end = one.negator, one.end
        without = _trace(reader, [*words[:n], *words[n + 1 :]])
        yield "forget", "", (f[n + 1 : end] - without.forget_gates[n : end - 1, 0]).mean().item()
        yield "input", "", (i[n + 1 : end] - without.input_gates[n : end - 1, 0]).mean().item()
        earlier = norms(without)[end - 2, :n, 0].norm()
        yield "earlier", "", (weights[end - 1, :n].norm() / earlier).item()
        memory = without.cells[end - 2, 0]
        yield "memory", "", ((c[end - 1] - memory).norm() / memory.norm()).item()
        phrase, whole = (_log_odds(reader, words[k:end]) for k in (n + 1, n))
        yield f"odds {one.side}", "", whole - phrase
        yield f"turned {one.side}", "", float(phrase * one.side > 0 > whole * one.side)


def _trace(reader: Reader, words: Sequence[str]) -> Trace:
    """The forward direction of the first layer on a sentence."""
    (sentence,) = reader.sentences([reader.encode(" ".join(words))])
    return sentence.views[0].directions[0]


def _log_odds(reader: Reader, words: Sequence[str]) -> float:
    """log p(positive) - log p(negative) of a phrase; the middle one of five classes is neutral."""
    (head,) = reader.model.classification_heads
    tokens = reader.encode(" ".join(words))["encoder"].indices.unsqueeze(0)
    with torch.no_grad():
        scores, _ = reader.model(tokens, classification_head_name=head)
    half = scores.size(1) // 2
    return (scores[0, -half:].logsumexp(0) - scores[0, :half].logsumexp(0)).item()
