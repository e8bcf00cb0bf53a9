"""Test whether models differ from the baseline on the test set.

All tests are two-tailed. With two seeds or more it is a paired t-test over the seeds, for a
perplexity of its logarithms. With one seed it is sacrebleu's paired bootstrap test of the
translations, which tells nothing about the randomness of training. The p-values of a table are
corrected by the method of Holm (1979).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scipy.stats import t, ttest_1samp

from .files import lines_of
from .plan import Task
from .results import PERPLEXITY, Result, Results

LEVEL = 0.05
SAMPLES = 1000
T_TEST, BOOTSTRAP = "t-test", "bootstrap"


@dataclass(frozen=True)
class Comparison:
    """A model against the baseline on the test set, in one metric.

    Attributes:
        differences: the score of the model less that of the baseline, for each seed that both have.
        test: T_TEST, BOOTSTRAP, or empty if nothing could be tested.
        p: the p-value.
        corrected: the same with Holm's correction for the models of the table.
    """

    differences: Mapping[int, float]
    test: str = ""
    p: float | None = None
    corrected: float | None = None

    @property
    def difference(self) -> float | None:
        """The mean of the differences; None if there are none or one is infinite or NaN."""
        values = self.differences.values()
        return statistics.fmean(values) if values and all(map(math.isfinite, values)) else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % t-interval of the mean difference, with three seeds or more."""
        values = [*self.differences.values()]
        if len(values) < 3 or self.difference is None:
            return None
        error = statistics.stdev(values) / math.sqrt(len(values))
        half = float(t.ppf(1 - LEVEL / 2, len(values) - 1)) * error
        return self.difference - half, self.difference + half


def compare(task: Task, results: Results, metric: str) -> dict[str, Comparison]:
    """Compare the models of a task with the baseline.

    Returns:
        A comparison for each model but the baseline that has test scores, by the model's name.

    Raises:
        ValueError: a file of translations does not have the score that is recorded for it.
    """
    runs = {
        model.name: {r.run.seed: r for r in results.of(task, model) if metric in r.scores["test"]}
        for model in task.models
    }
    baseline = runs.pop(task.baseline)
    found = {name: _compare(ours, baseline, metric) for name, ours in runs.items() if ours}
    corrected = holm({name: one.p for name, one in found.items() if one.p is not None})
    return {name: replace(one, corrected=corrected.get(name)) for name, one in found.items()}


def _compare(ours: Mapping[int, Result], baseline: Mapping[int, Result], metric: str) -> Comparison:
    pairs = {seed: (run, baseline[seed]) for seed, run in ours.items() if seed in baseline}
    scores = {seed: [run.scores["test"][metric] for run in pair] for seed, pair in pairs.items()}
    differences = {seed: one.value - other.value for seed, (one, other) in scores.items()}
    if len({score.task for pair in scores.values() for score in pair} - {""}) > 1:
        return Comparison(differences)  # one task shows a model more of the text before a word
    if len(pairs) > 1:
        values = [*differences.values()]
        if metric == PERPLEXITY:
            values = [math.log(a.value) - math.log(b.value) for a, b in scores.values()]
        p = t_test(values)
        return Comparison(differences, "" if p is None else T_TEST, p)
    for run, other in pairs.values():
        known = metric == "BLEU" or metric.startswith("chrF")  # as sacrebleu names them
        if known and run.hypotheses is not None and other.hypotheses is not None:
            return Comparison(differences, BOOTSTRAP, bootstrap(run, other, metric))
    return Comparison(differences)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Correct the p-values of several tests by the method of Holm (1979).

    The k-th smallest of n values is multiplied by n - k + 1. No corrected value is smaller than
    the one before it, or larger than 1.
    """
    corrected: dict[str, float] = {}
    before = 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        before = max(before, min((len(p) - rank) * p[name], 1.0))
        corrected[name] = before
    return corrected


def t_test(differences: Sequence[float]) -> float | None:
    """The p-value of a paired t-test.

    It is None for infinite values, and if all pairs differ alike: then the seeds change nothing,
    and there is no chance to compare with.
    """
    if not all(map(math.isfinite, differences)) or statistics.stdev(differences) < 1e-9:
        return None
    return float(ttest_1samp(differences, 0).pvalue)


def bootstrap(run: Result, baseline: Result, metric: str) -> float:
    """Twice the p-value of sacrebleu's paired bootstrap test, as of `sacrebleu --paired-bs`.

    sacrebleu's p-value has one tail: of the samples' differences it takes the absolute values
    before their mean, so once the models differ by more than chance, it counts the samples on one
    side only.

    Raises:
        ValueError: a file of translations does not have the score that is recorded for it.
    """
    from sacrebleu.significance import PairedTest

    assert baseline.reference is not None
    runs = {"baseline": baseline, "model": run}
    texts: list[tuple[str, Sequence[str]]]
    texts = [(name, _lines(one.hypotheses)) for name, one in runs.items()]
    way = _metric(baseline.scores["test"][metric].way[0])
    references = [_lines(baseline.reference)]
    for one, (_, lines) in zip(runs.values(), texts, strict=True):
        if len(lines) != len(references[0]):
            raise ValueError(
                f"{one.hypotheses} has {len(lines)} lines for {len(references[0])} references; "
                f"remove {one.run.folder / 'score-test'} and run `fairseq-wsum study`"
            )
    test = PairedTest(texts, {metric: way}, references, test_type="bs", n_samples=SAMPLES)
    found: list[Any] = test()[1][metric]
    for one, result in zip(runs.values(), found, strict=True):
        recorded = one.scores["test"][metric].value
        if abs(result.score - recorded) > 0.051:  # which may be rounded
            raise ValueError(
                f"{one.hypotheses} has {result.score:.2f} {metric}, but scores.json beside it says "
                f"{recorded:.2f}; remove {one.run.folder / 'score-test'} and run `fairseq-wsum "
                "study` to score it again"
            )
    return 1.0 if found[0].score == found[1].score else min(2 * found[1].p_value, 1.0)


def _metric(signature: str) -> Any:
    """sacrebleu's metric with a signature, such as case:lc|tok:none of BLEU, or nw:0 of chrF."""
    from sacrebleu.metrics import BLEU, CHRF

    way = dict(part.partition(":")[::2] for part in signature.split("|"))
    lowercase = way.get("case") == "lc"
    if "nc" in way:
        characters, words = int(way["nc"]), int(way["nw"])
        spaces = way.get("space") == "yes"
        return CHRF(characters, words, lowercase=lowercase, whitespace=spaces)
    # signatures add a version to some tokenizers, as in ja-mecab-0.996-IPA
    names = [name for name in BLEU.TOKENIZERS if f"{way.get('tok')}-".startswith(f"{name}-")]
    tokenizer = max(names, key=len, default="13a")
    return BLEU(lowercase=lowercase, tokenize=tokenizer, force=True)


def _lines(path: Path | None) -> list[str]:
    assert path is not None
    try:
        return lines_of(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged ({error})") from error
