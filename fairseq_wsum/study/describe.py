"""The sentences of a report: what a task is, what was tested, and where it was run."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .plan import Model, Task, command_line
from .progress import duration
from .results import PERPLEXITY, Result
from .significance import LEVEL, ONE_TAIL, SAMPLES, Comparison
from .tables import SUBSETS, Table, escape_markdown

FEW = 5  # seeds, up to which a t-test is called weak


def about(task: Task) -> str:
    """The recipe, its options and the models, in Markdown."""
    options = [code(option) for option in command_line(task.options)]
    parts = [f"Recipe {code(task.recipe.name)}"]
    parts.append(f"with {' '.join(options)}" if options else "without options")
    if task.data is not None:
        parts.append(f"on {code(task.data)}")
    models = [
        f"- **{escape_markdown(model.name)}**: {' '.join(map(code, command_line(model.options)))}\n"
        for model in task.models
        if not _is_cell(model)
    ]
    of_models = f" Options of models:\n\n{''.join(models)}" if models else "\n"
    return f"{' '.join(parts)}.{of_models}"


def legend(table: Table) -> str:
    """What the columns of a table mean."""
    better = {"BLEU": "Higher BLEU is better. ", PERPLEXITY: "Lower perplexity is better. "}
    baseline = escape_markdown(table.task.baseline)
    text = (
        f"{better.get(table.metric, '')}`valid` and `test` are means ± sample standard deviations "
        "over the finished seeds, or the range of seeds that differ more than tenfold. "
        f"`difference` is the test score minus that of {baseline}, "
        "averaged over the seeds that both have. `words/s` is the median speed of training in "
        "target words; runs that share a machine slow each other down.\n"
    )
    if table.task.published is not None:
        source = escape_markdown(table.task.published.source)
        text += f"\nPublished test figures: {source}.\n".replace("..\n", ".\n")
    return text


def scoring(runs: Iterable[Result]) -> str:
    """How the runs were scored: the form of the text, the signatures and the decoding.

    Of perplexities, fairseq's tasks if they differ between the models.
    """
    runs = list(runs)
    scores = [score for run in runs for subset in SUBSETS if (score := run.main(subset))]
    ways = _distinct(f"{s.metric} on {s.text}, {code(s.signature)}" for s in scores if s.signature)
    if not ways:
        return _tasks(runs)
    decoding = "; ".join(_distinct(run.decoding for run in runs if run.decoding))
    decoded = f" Test set decoded with {decoding}." if decoding else ""
    return f"Scores: {'; '.join(ways)}.{decoded}\n"


def _tasks(runs: Iterable[Result]) -> str:
    tasks: dict[str, list[str]] = {}
    for run in runs:
        if (score := run.main("test")) and score.task:
            tasks.setdefault(score.task, []).append(escape_markdown(run.run.model.name))
    if len(tasks) < 2:
        return ""
    by_task = "; ".join(
        f"with {code(task)} {', '.join(_distinct(models))}" for task, models in tasks.items()
    )
    return (
        f"Perplexities are computed by fairseq's tasks: {by_task}. A task that carries no state "
        "through the text sees fewer of the words before a word.\n"
    )


def hardware(runs: Sequence[Result]) -> str:
    """On which machines the finished runs were done, with which code, when, and for how long."""
    if not runs:
        return ""
    records = [run.record for run in runs]
    machines = Counter(f"{record.machine}, torch {record.torch}" for record in records)
    versions = Counter(record.version for record in records if record.version)
    code = f" Code: fairseq_wsum {_counted(versions)}." if versions else ""
    days = sorted(record.first_started[:10] for record in records)
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    seconds = sum(record.seconds for record in records)
    compare = " Speeds on different machines cannot be compared." if len(machines) > 1 else ""
    return (
        f"Hardware: {_counted(machines)}.{code} Started {when}; "
        f"{duration(seconds)} in all for training and scoring.{compare}\n"
    )


def significance(table: Table, comparisons: Mapping[str, Comparison]) -> str:
    """What was tested, how, and which models differ from the baseline."""
    baseline = escape_markdown(table.task.baseline)
    if len(table.rows) == 1:
        return "There is no other model to test against the baseline.\n"
    if not comparisons:
        return f"Nothing was tested: a test needs test scores of {baseline} and of another model.\n"
    tested = {name: found for name, found in comparisons.items() if found.p is not None}
    parts = []
    if tested:
        if table.metric == PERPLEXITY:
            parts.append(_t_test(baseline, tested))
        else:
            parts.append(_bootstrap(baseline, tested))
        for way, sign in (("Better", 1), ("Worse", -1)):
            if names := [name for name, found in tested.items() if _way(table, found) == sign]:
                listed = "; ".join(map(escape_markdown, names))
                parts.append(f"{way} than {baseline}: {listed}.")
        if not any(found.different for found in tested.values()):
            parts.append(f"No model counts as different from {baseline}.")
    untested = {name: _why_not(found, table.metric) for name, found in comparisons.items()}
    reasons = [f"{escape_markdown(name)} ({why})" for name, why in untested.items() if why]
    if reasons:
        parts.append(f"Not tested: {'; '.join(reasons)}.")
    return " ".join(parts) + "\n"


def code(what: str | Path) -> str:
    """Text as code of Markdown."""
    text = str(what)
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _bootstrap(baseline: str, tested: Mapping[str, Comparison]) -> str:
    seed = os.environ.get("SACREBLEU_SEED", "12345")
    random = "no fixed random seed" if seed.lower() in ("0", "none") else f"random seed {seed}"
    text = (
        f"Each model was tested against {baseline} on the test set with sacrebleu's paired "
        f"bootstrap test of BLEU ({SAMPLES:,} samples, {random}), separately for each "
        "seed that both have. The p-values are corrected by Holm's method for the number of models "
        "tested with a seed, and the table shows the largest over the seeds. A model counts as "
        "different if every seed that both have was tested, every corrected p-value is below "
        f"{ONE_TAIL}, and all seeds are better or all are worse. (sacrebleu's p-values are "
        f"one-tailed, so the two-tailed level is {LEVEL}.) The test measures the uncertainty due "
        "to the choice of test sentences. The randomness of training shows only in the standard "
        "deviation over seeds."
    )
    by_seeds = _by_number_of_seeds(tested)
    if 1 not in by_seeds:
        return text
    return (
        f"{text} With one seed{by_seeds[1]}, a difference holds for the two trained models, and "
        "not for the two kinds of model."
    )


def _t_test(baseline: str, tested: Mapping[str, Comparison]) -> str:
    from scipy.stats import t

    text = (
        f"Each model was tested against {baseline} with a paired t-test of the logarithms of the "
        "test perplexities, over the seeds that both have. The p-values are corrected by Holm's "
        "method for the number of models tested. A model counts as different if the corrected "
        f"p-value is below {LEVEL} and the mean differences of the perplexities and of their "
        "logarithms have the same sign."
    )
    times = [
        f"{t.ppf(1 - LEVEL / 2, seeds - 1):.1f} times its standard error with {seeds} seeds{models}"
        for seeds, models in _by_number_of_seeds(tested).items()
        if seeds <= FEW
    ]
    if not times:
        return text
    return (
        f"{text} With few seeds this test is weak: even before the correction, the mean difference "
        f"must be {', '.join(times)}, so models that do not count as different may well differ."
    )


def _by_number_of_seeds(tested: Mapping[str, Comparison]) -> dict[int, str]:
    """By the number of seeds, the names of the models tested with so many, unless all are."""
    models: dict[int, list[str]] = {}
    for name, found in tested.items():
        models.setdefault(len(found.differences), []).append(escape_markdown(name))
    if len(models) == 1:
        return dict.fromkeys(models, "")
    return {seeds: f" ({', '.join(names)})" for seeds, names in sorted(models.items())}


def _why_not(found: Comparison, metric: str) -> str:
    """Why a model, or a seed of it, was not tested; empty if all was."""
    if not found.differences:
        return "no seed in common"
    if not found.same_task:
        return "scored by another of fairseq's tasks than the baseline"
    if found.untested:
        seeds = ", ".join(map(str, found.untested))
        return f"it or the baseline has no translations or no reference text with seed {seeds}"
    if found.p is None:
        if metric == PERPLEXITY and len(found.differences) < 2:
            return "a t-test needs two seeds"
        if not all(map(math.isfinite, found.differences.values())):
            return "perplexities that are not finite"
        return "the same difference with every seed"
    return ""


def _way(table: Table, found: Comparison) -> int:
    """1 for a model that counts as better than the baseline, -1 as worse, otherwise 0."""
    if not found.different or not found.difference:
        return 0
    return 1 if (found.difference < 0) == (table.metric == PERPLEXITY) else -1


def _is_cell(model: Model) -> bool:
    return dict(model.options) == {"cell": model.name}


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _counted(found: Mapping[str, int]) -> str:
    return "; ".join(f"{what} ({_number(count, 'run')})" for what, count in found.items())


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
