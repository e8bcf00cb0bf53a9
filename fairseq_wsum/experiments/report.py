"""`fairseq-wsum report`: a page in Markdown, and its tables and pictures as files."""

from __future__ import annotations

import argparse
import csv
import io
import math
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ..files import whole
from .plan import Plan, Task, command_line, read_plan
from .record import check_owner, duration, last_lines, read_log, standing
from .results import PERPLEXITY, SUBSETS, Result, Results, metrics, read_results
from .significance import BOOTSTRAP, LEVEL, SAMPLES, T_TEST, Comparison, compare

FOLDER, PAGE = "report", "report.md"
NONE = "–"  # noqa: RUF001
WIDE = 10  # times the smallest: a larger score leaves means and axes without a meaning
LEGEND = (
    "`valid` and `test`: mean ± sample standard deviation over the finished seeds, or the range of "
    "seeds that differ more than tenfold. `difference`: the test score minus that of {baseline}, "
    "averaged over the seeds that both have. `words/s`: the median speed of training in target "
    "words; runs that share a machine slow each other down."
)
TESTS = {
    T_TEST: "With two seeds or more, models were tested against {baseline} by a paired t-test over "
    "the seeds (of a perplexity, its logarithms). With few seeds this test is weak: models that "
    "do not count as different may well differ.",
    BOOTSTRAP: "With one seed, models were tested by sacrebleu's paired bootstrap test of the "
    f"translations ({SAMPLES:,} samples, twice its p-value): a difference holds for the two "
    "trained models, and not for the two kinds of model.",
}
CORRECTED = f"All p-values are two-tailed and have Holm's correction; below {LEVEL} models differ."


@dataclass(frozen=True)
class Table:
    """The models of a task.

    Attributes:
        task: the task.
        metrics: the metrics that its runs have, the main one first.
        runs: the finished runs of each model.
        comparisons: with the baseline, by metric and model.
        missing: what to show for a model without a finished run, by its name.
    """

    task: Task
    metrics: Sequence[str]
    runs: Mapping[str, Sequence[Result]]
    comparisons: Mapping[str, Mapping[str, Comparison]]
    missing: Mapping[str, str]

    def scores(self, model: str, subset: str, metric: str) -> list[float]:
        """The scores of a model, one for each finished run that has one."""
        found = (run.scores[subset].get(metric) for run in self.runs[model])
        return [score.value for score in found if score is not None]

    def digits(self, metric: str) -> int:
        """The decimals of scores: one for perplexities from 20, otherwise two."""
        found = [v for m in self.runs for s in SUBSETS for v in self.scores(m, s, metric)]
        smallest = min(filter(math.isfinite, found), default=math.inf)
        return 1 if metric == PERPLEXITY and smallest >= 20 else 2


def report(args: argparse.Namespace) -> None:
    """Write the report: tables to stdout, and the path of its folder to stderr.

    Raises:
        ValueError: the study is wrong, or a run left a damaged file or had other options.
    """
    plan = read_plan(args.file, args.out or Path("runs", "studies", args.file.stem))
    if not plan.out.is_dir():
        raise ValueError(f"no folder {plan.out}: give the --out of `fairseq-wsum study`")
    if args.out is None:
        check_owner(plan)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal may lack ±
    for table in write_report(plan):
        print(f"{table.task.name}\n\n{markdown(table)}")
    print(plan.out / FOLDER, file=sys.stderr)


def write_report(plan: Plan) -> list[Table]:
    """Write the report of what is finished, and return its tables.

    It has `report.md`; for each task `TASK.tex`, `TASK.csv`, `TASK-curves.svg` and `TASK-bars.svg`,
    the pictures only with matplotlib; and `runs.csv` with a row for each run.
    """
    folder = plan.out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    results = read_results(plan)
    tables = [make_table(task, results) for task in plan.tasks]
    parts = [_head(plan, results)]
    for table in tables:
        name = table.task.name
        _write(folder / f"{name}.tex", latex(table))
        _write(folder / f"{name}.csv", _csv(csv_rows(table)))
        parts += [f"## {name}", *_section(table), *_draw(table, folder)]
    parts += _unfinished(plan, results)
    _write(folder / "runs.csv", _csv(run_rows(plan, results)))
    _write(folder / PAGE, "\n\n".join(parts) + "\n")
    return tables


def make_table(task: Task, results: Results) -> Table:
    """The table of a task."""
    found = metrics(results.of(task))
    missing = {}
    for model in task.models:
        prefix = f"{task.name}/{model.folder}/"
        states = {how for name, how in results.states.items() if name.startswith(prefix)}
        started = states - {"waiting"}
        missing[model.name] = (
            "not run" if not started else "failed" if started == {"failed"} else "not finished"
        )
    return Table(
        task,
        found,
        {model.name: results.of(task, model) for model in task.models},
        {metric: compare(task, results, metric) for metric in found},
        missing,
    )


# Tables


def spread(values: Sequence[float], digits: int) -> str:
    """Mean, and the sample standard deviation of more than one value.

    If the largest is more than ten times the smallest, as of a model that diverged with one seed, a
    mean would say nothing: the text is the range.
    """
    finite = all(map(math.isfinite, values))
    if finite and max(values) > WIDE * min(values):
        return f"{number(min(values), digits)} to {number(max(values), digits)}"
    mean = number(statistics.fmean(values), digits)
    several = finite and len(values) > 1
    return f"{mean} ± {number(statistics.stdev(values), digits)}" if several else mean


def number(value: float, digits: int) -> str:
    """A number with some decimals, or such as 1.2e16 from 10,000."""
    if 1e4 <= abs(value) < math.inf:
        return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:.{digits}f}"


def text_rows(table: Table) -> list[list[str]]:
    """The header and the rows of a table."""
    header = ["model", "parameters", "seeds"]
    for metric in table.metrics:
        header += [f"valid {metric}", f"test {metric}", "difference", "p (Holm)"]
    header += ["published"] if table.task.published else []
    return [[*header, "words/s"], *(_text_row(table, model.name) for model in table.task.models)]


def _text_row(table: Table, model: str) -> list[str]:
    runs, planned = table.runs[model], len(table.task.seeds)
    row = [
        model,
        next((f"{run.parameters:,}" for run in runs if run.parameters is not None), NONE),
        str(planned) if len(runs) == planned else f"{len(runs)} of {planned}",
    ]
    for metric in table.metrics:
        digits = table.digits(metric)
        for subset in SUBSETS:
            scores = table.scores(model, subset, metric)
            row.append(spread(scores, digits) if scores else _none(table, model))
        comparison = table.comparisons[metric].get(model, Comparison({}))
        if model == table.task.baseline:
            row.append("baseline")
        elif comparison.difference is None:
            row.append(NONE)
        else:
            row.append(_signed(comparison.difference, digits))
        row.append(NONE if comparison.corrected is None else _p_value(comparison.corrected))
    if table.task.published:
        figure = table.task.published.get(model)
        row.append(NONE if figure is None else f"{figure:g}")
    speed = _speed(runs)
    return [*row, NONE if speed is None else f"{speed:,.0f}"]


def _none(table: Table, model: str) -> str:
    return NONE if table.runs[model] else table.missing[model]


def _speed(runs: Sequence[Result]) -> float | None:
    found = [run.words_per_second for run in runs if run.words_per_second is not None]
    return statistics.median(found) if found else None


def _signed(difference: float, digits: int) -> str:
    """A difference with its sign, unless it rounds to zero."""
    text = number(abs(difference), digits)
    return ("-" if difference < 0 else "+") + text if float(text) else text


def _p_value(p: float) -> str:
    """A p-value with three decimals, which is below the level only if the exact one is."""
    if p < 0.0005:
        return "<0.001"
    return f"<{LEVEL}" if p < LEVEL <= round(p, 3) else f"{p:.3f}"


def markdown(table: Table) -> str:
    """The table in Markdown."""
    header, *rows = text_rows(table)
    rows = [[escape(cell) for cell in row] for row in rows]
    sides = ["left", *["right"] * (len(header) - 1)]
    return tabulate(rows, header, "pipe", colalign=sides, disable_numparse=True) + "\n"


def latex(table: Table) -> str:
    """The table as a `tabular` of LaTeX."""
    header, *rows = text_rows(table)
    sides = ["left", *["right"] * (len(header) - 1)]
    return tabulate(rows, header, "latex", colalign=sides, disable_numparse=True) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"[\\`*_|<&$~\[\]]", r"\\\g<0>", text)


def csv_rows(table: Table) -> Iterator[dict[str, Any]]:
    """The table in full precision: a row for each model and metric."""
    for model, runs in table.runs.items():
        for metric in table.metrics:
            row: dict[str, Any] = dict(model=model, metric=metric)
            row["parameters"] = next((r.parameters for r in runs if r.parameters is not None), None)
            row["seeds"] = " ".join(str(run.run.seed) for run in runs)
            for subset in SUBSETS:
                values = table.scores(model, subset, metric)
                finite = all(map(math.isfinite, values))
                row[f"{subset}_mean"] = statistics.fmean(values) if values else None
                row[f"{subset}_stdev"] = (
                    statistics.stdev(values) if finite and len(values) > 1 else None
                )
            comparison = table.comparisons[metric].get(model, Comparison({}))
            low, high = comparison.interval or (None, None)
            row |= dict(difference=comparison.difference, difference_low=low, difference_high=high)
            row |= dict(test=comparison.test, p=comparison.p, p_corrected=comparison.corrected)
            published = table.task.published.get(model) if metric == table.metrics[0] else None
            yield row | dict(published=published, words_per_second=_speed(runs))


def run_rows(plan: Plan, results: Results) -> Iterator[dict[str, Any]]:
    """A row for each run of a study, whatever its state."""
    finished = {result.run.name: result for result in results.finished}
    every = metrics(results.finished)
    for run in plan.runs:
        row: dict[str, Any] = dict(task=run.task.name, model=run.model.name, seed=run.seed)
        row["state"] = results.states[run.name]
        result = finished.get(run.name)
        for subset in SUBSETS:
            for metric in every:
                score = result.scores[subset].get(metric) if result else None
                row[f"{subset}_{metric}"] = score.value if score else None
        for name in ("parameters", "words_per_second", "decoding"):
            row[name] = getattr(result, name, None)
        for name in ("seconds", "began", "machine", "version"):
            row[name] = getattr(result.record, name) if result else None
        yield row | dict(folder=str(run.folder))


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    rows = list(rows)
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0] if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


# The page


def _head(plan: Plan, results: Results) -> str:
    states = Counter(results.states.values())
    failed = f", {states['failed']} failed" if states["failed"] else ""
    count = f"{states['finished']} of {len(plan.runs)} runs are finished{failed}"
    return f"# Study {escape(plan.file.stem)}\n\n{date.today()}. {count}. Study: `{plan.file}`."


def _section(table: Table) -> Iterator[str]:
    task, baseline = table.task, escape(table.task.baseline)
    options = [f"`{option}`" for option in command_line(task.options)]
    data = [] if task.data is None else [f"on `{task.data}`"]
    yield " ".join([f"Recipe `{task.recipe.name}`", *data, *options]) + "."
    models = [m for m in task.models if dict(m.options) != {"cell": m.name}]
    lines = [f"- {escape(m.name)}: `{' '.join(command_line(m.options))}`" for m in models]
    if lines:
        yield "\n".join(lines)
    yield markdown(table).rstrip()
    yield LEGEND.format(baseline=baseline)
    if task.published:
        yield f"Published test figures: {escape(task.source).rstrip('.')}."
    compared = [one for found in table.comparisons.values() for one in found.values()]
    made = [text for test, text in TESTS.items() if test in {one.test for one in compared}]
    if made:
        yield " ".join([*made, CORRECTED]).format(baseline=baseline)
    if any(not one.test for one in compared):
        yield (
            "Models with a difference and no p-value were not tested: they share no seed with "
            f"{baseline}, or one seed without translations, or another of fairseq's tasks "
            "computed their perplexity."
        )
    runs = [run for of_model in table.runs.values() for run in of_model]
    ways = {" ".join([s.metric, *s.way]) for r in runs for s in r.scores["test"].values()}
    decoding = {run.decoding for run in runs} - {""}
    if ways:
        yield "Test scores: " + "; ".join(
            f"`{text}`" for text in [*sorted(ways), *sorted(decoding)]
        )
    machines = Counter(f"{run.record.machine}, {run.record.version}" for run in runs)
    if machines:
        seconds = [run.record.seconds for run in runs]
        started = sorted(run.record.began[:10] for run in runs)
        times = f"{duration(min(seconds))} to {duration(max(seconds))} a run"
        where = "; ".join(f"{what} ({count})" for what, count in machines.items())
        yield f"Runs: {where}. {started[0]} to {started[-1]}, {times}."


def _draw(table: Table, folder: Path) -> Iterator[str]:
    if find_spec("matplotlib") is None:
        yield "There are no pictures, because matplotlib is not installed."
        return
    from . import pictures

    name = table.task.name
    for kind, what in pictures.KINDS.items():
        file = folder / f"{name}-{kind}.svg"
        figure = getattr(pictures, kind)(table)
        if figure is None:
            file.unlink(missing_ok=True)
            continue
        with whole(file) as partial:
            pictures.save(figure, partial)
        yield f"![{name}: {what}]({file.name})\n\n{what.capitalize()}."


def _unfinished(plan: Plan, results: Results) -> Iterator[str]:
    runs = [run for run in plan.runs if results.states[run.name] != "finished"]
    if runs:
        yield "## Runs that are not finished"
    for run in runs:
        yield f"- `{run.name}`: {standing(run)}"
        if results.states[run.name] == "failed":
            yield last_lines(read_log(run.folder)).rstrip() or "(the log is empty)"


def _write(path: Path, text: str) -> None:
    with whole(path) as partial:
        partial.write_text(text, "utf-8", newline="\n")
