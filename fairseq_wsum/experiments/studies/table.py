"""The models of a task with their scores: the table of a report, in numbers."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .plan import Task
from .results import PERPLEXITY, SUBSETS, Result, metrics
from .significance import compare


class Table:
    """The models of a task.

    Attributes:
        task: the task.
        runs: the finished runs of each model.
        found: the metrics that these have, the main one first.
        metrics: those of them that were chosen, by default all.
        main: the main one.
        published: the published figures, which are of the main one, if it is shown.
        missing: what to show for a model without a finished run, by its name.
        machine: the one of most runs, on which alone models are compared by speed.
        rows: the table in full precision: a row for each model and metric.
    """

    def __init__(self, task: Task, results: Sequence[Result], chosen: Sequence[str] = ()) -> None:
        self.task = task
        self.runs: dict[str, list[Result]] = {}
        self.missing: dict[str, str] = {}
        for model in task.models:
            of_model = [r for r in results if r.run.task is task and r.run.model is model]
            self.runs[model.name] = [r for r in of_model if r.state == "finished"]
            states = {r.state for r in of_model} - {"waiting"}
            self.missing[model.name] = (
                "not run" if not states else "failed" if states == {"failed"} else "not finished"
            )
        self.found = found = metrics(run for runs in self.runs.values() for run in runs)
        self.metrics = [metric for metric in chosen if metric in found] if chosen else found
        self.main = found[0] if found else ""
        self.published = task.published if self.main in self.metrics else {}
        records = [run.record for runs in self.runs.values() for run in runs if run.record]
        machines = Counter(record.machine for record in records).most_common(1)
        self.machine = machines[0][0] if machines else ""
        compared = {m: compare(self.runs, task.baseline, m) for m in self.metrics}
        self.rows = {
            (model, metric): self._row(model, metric) | compared[metric].get(model, {})
            for model in self.runs
            for metric in self.metrics
        }

    def _row(self, model: str, metric: str) -> dict[str, Any]:
        runs = self.runs[model]
        row: dict[str, Any] = dict(model=model, metric=metric, parameters=self.parameters(model))
        row["seeds"] = " ".join(str(run.run.seed) for run in runs)
        for subset in SUBSETS:
            values = self.scores(model, subset, metric)
            several = len(values) > 1 and all(map(math.isfinite, values))
            row[f"{subset}_mean"] = statistics.fmean(values) if values else None
            row[f"{subset}_stdev"] = statistics.stdev(values) if several else None
        row |= dict(difference=None, difference_low=None, difference_high=None)
        row |= dict(test="", p=None, p_corrected=None)
        published = self.published.get(model) if metric == self.main else None
        return row | dict(published=published, words_per_second=self.speed(model))

    def scores(self, model: str, subset: str, metric: str) -> list[float]:
        """The scores of a model, one for each finished run that has one."""
        key = (subset, metric)
        return [run.scores[key].value for run in self.runs[model] if key in run.scores]

    def parameters(self, model: str) -> int | None:
        """The number of parameters of a model."""
        return next((r.parameters for r in self.runs[model] if r.parameters is not None), None)

    def speed(self, model: str) -> float | None:
        """The median over the runs of a model on `machine`, in words per second."""
        runs = [r for r in self.runs[model] if r.record and r.record.machine == self.machine]
        found = [r.words_per_second for r in runs if r.words_per_second is not None]
        return statistics.median(found) if found else None

    def digits(self, metric: str) -> int:
        """The decimals of scores: one for perplexities from 20, otherwise two."""
        found = [v for m in self.runs for s in SUBSETS for v in self.scores(m, s, metric)]
        smallest = min(filter(math.isfinite, found), default=math.inf)
        return 1 if metric == PERPLEXITY and smallest >= 20 else 2


def spread(values: Sequence[float], digits: int) -> str:
    """Mean, and the sample standard deviation of more than one value."""
    mean = number(statistics.fmean(values), digits)
    several = all(map(math.isfinite, values)) and len(values) > 1
    return f"{mean} ± {number(statistics.stdev(values), digits)}" if several else mean


def number(value: float, digits: int) -> str:
    """A number with some decimals, or such as 1.2e16 from 10,000."""
    if 1e4 <= abs(value) < math.inf:
        return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:.{digits}f}"
