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
from typing import Any

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest
from scipy.stats import ttest_1samp

from ..text_files import lines_of
from .results import PERPLEXITY, Result

LEVEL = 0.05
SAMPLES = 1000


def compare(
    models: Mapping[str, Sequence[Result]], baseline: str, metric: str
) -> dict[str, dict[str, Any]]:
    """Compare models with the baseline on the test set.

    Returns:
        For each model: `difference`, the score less that of the baseline, averaged over the seeds
        that both have; `difference_low` and `difference_high`, its 95 % t-interval with three seeds
        or more; `test`, the name of the test; `p`; and `p_corrected`, with Holm's correction. What
        does not exist is missing.
    """
    scored = {
        name: {run.run.seed: run for run in runs if ("test", metric) in run.scores}
        for name, runs in models.items()
    }
    best = scored[baseline]
    found = {
        name: _compare([(run, best[seed]) for seed, run in runs.items() if seed in best], metric)
        for name, runs in scored.items()
        if name != baseline
    }
    corrected = holm({name: row["p"] for name, row in found.items() if "p" in row})
    for name, p in corrected.items():
        found[name]["p_corrected"] = p
    return found


def _compare(pairs: Sequence[tuple[Result, Result]], metric: str) -> dict[str, Any]:
    scores = [(a.scores["test", metric], b.scores["test", metric]) for a, b in pairs]
    differences = [a.value - b.value for a, b in scores]
    row: dict[str, Any] = {}
    if differences and all(map(math.isfinite, differences)):
        row["difference"] = statistics.fmean(differences)
        if len(differences) > 2 and statistics.stdev(differences) >= 1e-9:
            low, high = map(float, ttest_1samp(differences, 0).confidence_interval(1 - LEVEL))
            row |= {"difference_low": low, "difference_high": high}
    if len({score.task for pair in scores for score in pair} - {""}) > 1:
        return row  # one task shows a model more of the text before a word
    if len(pairs) > 1:
        if metric == PERPLEXITY:
            differences = [math.log(a.value) - math.log(b.value) for a, b in scores]
        p = t_test(differences)
        return row if p is None else row | {"test": "t-test", "p": p}
    known = metric == "BLEU" or metric.startswith("chrF")  # as sacrebleu names them
    if known and pairs and all(run.hypotheses is not None for run in pairs[0]):
        return row | {"test": "bootstrap", "p": bootstrap(*pairs[0], metric)}
    return row


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
    """
    way = _metric(baseline.scores["test", metric].way[0])
    references = lines_of(baseline.reference)
    texts: list[tuple[str, Sequence[str]]] = []
    for one in (baseline, run):
        assert one.hypotheses is not None
        texts.append((str(one.run.folder), lines_of(one.hypotheses)))
    test = PairedTest(texts, {metric: way}, [references], test_type="bs", n_samples=SAMPLES)
    found: list[Any] = test()[1][metric]
    return 1.0 if found[0].score == found[1].score else min(2 * found[1].p_value, 1.0)


def _metric(signature: str) -> Any:
    """sacrebleu's metric with a signature, such as case:lc|tok:none of BLEU, or nw:0 of chrF."""
    way = dict(part.partition(":")[::2] for part in signature.split("|"))
    lowercase = way.get("case") == "lc"
    if "nc" in way:
        spaces = way.get("space") == "yes"
        return CHRF(int(way["nc"]), int(way["nw"]), lowercase=lowercase, whitespace=spaces)
    # signatures add a version to some tokenizers, as in ja-mecab-0.996-IPA
    names = [name for name in BLEU.TOKENIZERS if f"{way.get('tok')}-".startswith(f"{name}-")]
    return BLEU(lowercase=lowercase, tokenize=max(names, key=len, default="13a"), force=True)
