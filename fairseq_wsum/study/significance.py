"""Test whether models differ from the baseline on the test set.

BLEU: sacrebleu's paired bootstrap test of the translations, for each seed. Perplexity: a paired
t-test over the seeds. Both are corrected by Holm's method for the number of models in the table.

sacrebleu's p-value has one tail: of the samples' differences it takes the absolute values before
their mean, so once the models differ by more than chance, it counts the samples on one side only.
We do not know beforehand which model is better, so its p-values must be below half of the level.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .plan import Task
from .results import PERPLEXITY, Result, Results

LEVEL = 0.05
ONE_TAIL = LEVEL / 2
SAMPLES = 1000

Key = TypeVar("Key", bound=Hashable)
Runs = Mapping[int, Result]  # of a model, by seed


@dataclass(frozen=True)
class PValue:
    """A p-value, and the same corrected by Holm's method."""

    raw: float
    corrected: float


@dataclass(frozen=True)
class Comparison:
    """A model against the baseline on the test set.

    Attributes:
        differences: the score of the model less that of the baseline, for each seed that both have.
        p: the p-value of the t-test, or the largest of `by_seed`; None if nothing was tested.
        by_seed: the p-values of the bootstrap tests; empty for a perplexity.
        untested: the seeds of `differences` without translations or a reference text.
        log_difference: the mean difference of the logarithms of perplexities, which the t-test
            compares; None if it was not made.
        same_task: whether the same task of fairseq computed both perplexities, as far as known. If
            not, one model may have seen more of the text before a word, and nothing is tested.
    """

    differences: Mapping[int, float]
    p: PValue | None = None
    by_seed: Mapping[int, PValue] = field(default_factory=dict)
    untested: tuple[int, ...] = ()
    log_difference: float | None = None
    same_task: bool = True

    @property
    def difference(self) -> float | None:
        """The mean of the differences; None if there are none or one is infinite or NaN."""
        values = self.differences.values()
        return statistics.fmean(values) if values and all(map(math.isfinite, values)) else None

    @property
    def different(self) -> bool:
        """Whether every corrected p-value is below 0.05, or 0.025 for BLEU.

        For BLEU, every seed must have been tested, and be better or worse alike. For perplexities,
        the means of the differences and of their logarithms must have the same sign, which an
        outlier can prevent.
        """
        if self.p is None or self.untested:
            return False
        if not self.by_seed:
            logs, mean = self.log_difference, self.difference or 0.0
            return self.p.corrected < LEVEL and (logs is None or logs * mean > 0)
        signs = {(value > 0) - (value < 0) for value in self.differences.values()}
        return self.p.corrected < ONE_TAIL and signs in ({1}, {-1})


def compare(task: Task, results: Results) -> dict[str, Comparison]:
    """Compare the models of a task with the baseline.

    Returns:
        A comparison for each model but the baseline that has a test score, by the model's name;
        none if the baseline has no test score.

    Raises:
        ValueError: a file of translations does not have the score that is recorded for it.
    """
    scored = {
        model.name: {r.run.seed: r for r in results.of(task, model) if r.test}
        for model in task.models
    }
    baseline = scored.pop(task.baseline)
    others = {name: runs for name, runs in scored.items() if runs}
    if not baseline:
        return {}
    metric = next(iter(baseline.values())).test[0].metric
    return (_test_perplexities if metric == PERPLEXITY else _bleu)(baseline, others)


def holm(p: Mapping[Key, float]) -> dict[Key, PValue]:
    """Correct the p-values of several tests by the method of Holm (1979).

    The k-th smallest of n values is multiplied by n - k + 1. No corrected value is smaller than
    the one before it, or larger than 1.
    """
    corrected: dict[Key, PValue] = {}
    before = 0.0
    for rank, key in enumerate(sorted(p, key=lambda key: p[key])):
        before = max(before, min((len(p) - rank) * p[key], 1.0))
        corrected[key] = PValue(p[key], before)
    return corrected


def _differences(
    runs: Runs, baseline: Runs, scale: Callable[[float], float] = float
) -> dict[int, float]:
    """The differences of the main test scores, by seed."""
    return {
        seed: scale(run.test[0].value) - scale(baseline[seed].test[0].value)
        for seed, run in runs.items()
        if seed in baseline
    }


# Perplexity


def t_test(differences: Sequence[float]) -> float | None:
    """The p-value of a paired t-test, from the differences of the logarithms of perplexities.

    It is None for fewer than two pairs, for infinite perplexities, and if all pairs differ by the
    same factor: then the seeds change nothing, and there is no chance to compare with.
    """
    from scipy.stats import ttest_1samp

    if len(differences) < 2 or not all(map(math.isfinite, differences)):
        return None
    if statistics.stdev(differences) < 1e-9:
        return None
    return float(ttest_1samp(differences, 0).pvalue)


def _test_perplexities(baseline: Runs, others: Mapping[str, Runs]) -> dict[str, Comparison]:
    logs = {
        name: [*_differences(ours, baseline, math.log).values()]
        for name, ours in others.items()
        if _same_task(ours, baseline)
    }
    p_values = {name: t_test(differences) for name, differences in logs.items()}
    corrected = holm({name: p for name, p in p_values.items() if p is not None})
    return {
        name: Comparison(
            _differences(ours, baseline),
            corrected.get(name),
            log_difference=statistics.fmean(logs[name]) if name in corrected else None,
            same_task=name in logs,
        )
        for name, ours in others.items()
    }


def _same_task(*models: Runs) -> bool:
    # the runs of a model have the same, as far as it is known; see `read_results`
    return len({run.test[0].task for runs in models for run in runs.values()} - {""}) < 2


# BLEU


def bootstrap(
    baseline: Result, systems: Mapping[Key, Result], samples: int = SAMPLES
) -> dict[Key, float]:
    """The p-values of sacrebleu's paired bootstrap test, as of `sacrebleu --paired-bs`.

    With equal scores the p-value is 1. (sacrebleu has its smallest one for equal translations.)

    Args:
        baseline: a run with translations and a reference text.
        systems: runs with translations of the same text.
        samples: number of bootstrap samples.

    Raises:
        ValueError: a file of translations does not have the score that is recorded for it, or the
            signature of the score is incomplete, or that of several references.
    """
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    assert baseline.reference is not None
    reference = _lines(baseline.reference)
    runs = [baseline, *systems.values()]
    named: list[tuple[str, Sequence[str]]] = []
    for run in runs:
        assert run.hypotheses is not None
        try:
            lines = _lines(run.hypotheses)
        except UnicodeDecodeError as error:
            raise ValueError(f"{run.hypotheses} is damaged ({error}); {_again(run)}") from error
        if len(lines) != len(reference):
            raise ValueError(
                f"{run.hypotheses} has {len(lines)} lines for {len(reference)} of "
                f"{baseline.reference}; {_again(run)}"
            )
        named.append((run.run.name, lines))
    signature = baseline.test[0].signature
    way = dict(part.partition(":")[::2] for part in signature.split("|"))
    smoothing, _, value = way.get("smooth", "exp").partition("[")
    if way.get("nrefs", "1") != "1":
        raise ValueError(
            f"{baseline.run.folder / 'score-test/scores.json'}: the signature {signature!r} is "
            "that of several references, and a study compares translations with one"
        )
    try:
        metric = BLEU(
            lowercase=way["case"] == "lc",
            tokenize=_tokenizer(way["tok"], BLEU.TOKENIZERS),
            smooth_method=smoothing,
            smooth_value=float(value.rstrip("]")) if value else None,
            effective_order=way.get("eff") == "yes",
            force=True,
        )
    except KeyError as error:  # of the signature, or of sacrebleu's tokenizers
        raise ValueError(
            f"{baseline.run.folder / 'score-test/scores.json'}: the signature {signature!r} must "
            "name the case and the tokenizer as sacrebleu does, such as case:lc|tok:none"
        ) from error
    test = PairedTest(named, {"BLEU": metric}, [reference], test_type="bs", n_samples=samples)
    _, scores = test()
    p: dict[Key, float] = {}
    every: list[Any] = scores["BLEU"]
    for name, run, found in zip([None, *systems], runs, every, strict=True):
        recorded = run.test[0].value
        if abs(found.score - recorded) > _rounding(recorded):
            raise ValueError(
                f"{run.hypotheses} has {found.score:.2f} BLEU, but scores.json beside it says "
                f"{recorded:.2f}; {_again(run)}"
            )
        if name is not None:
            p[name] = 1.0 if found.score == every[0].score else found.p_value
    return p


def _bleu(baseline: Runs, others: Mapping[str, Runs]) -> dict[str, Comparison]:
    by_seed: dict[int, dict[str, PValue]] = {}
    for seed, base in baseline.items():
        systems = {
            name: runs[seed]
            for name, runs in others.items()
            if seed in runs and runs[seed].hypotheses is not None
        }
        testable = systems and base.hypotheses is not None and base.reference is not None
        by_seed[seed] = holm(bootstrap(base, systems)) if testable else {}
    found = {}
    for name, runs in others.items():
        differences = _differences(runs, baseline)
        p = {seed: by_seed[seed][name] for seed in differences if name in by_seed[seed]}
        largest = max(p.values(), key=lambda p: (p.corrected, p.raw), default=None)
        untested = tuple(seed for seed in differences if seed not in p)
        found[name] = Comparison(differences, largest, p, untested)
    return found


def _rounding(score: float) -> float:
    """The largest error of a score, by the number of decimals that it is written with."""
    decimals = min(len(repr(score).partition(".")[2]), 2)
    return 0.5001 * 10.0**-decimals


def _tokenizer(name: str, known: Collection[str]) -> str:
    """A tokenizer without the version that signatures add to it, as in ja-mecab-0.996-IPA."""
    found = [tokenizer for tokenizer in known if f"{name}-".startswith(f"{tokenizer}-")]
    return max(found, key=len, default=name)


def _lines(path: Path) -> list[str]:
    """The lines of a text.

    Raises:
        UnicodeDecodeError: it is truncated within a letter.
    """
    # splitlines() would also break a sentence at U+2028, U+0085 and the like, and text mode at \r.
    return path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")


def _again(run: Result) -> str:
    return f"remove {run.run.folder / 'score-test'} and run `fairseq-wsum study` to score it again"
