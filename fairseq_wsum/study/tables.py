"""The tables of a report, in Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
import re
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .plan import Model, Plan, Task
from .results import PERPLEXITY, Result, Results
from .significance import LEVEL, ONE_TAIL, Comparison

SUBSETS = ("valid", "test")
ARROWS = {"BLEU": " ↑", PERPLEXITY: " ↓"}  # which way is better
NONE = "–"  # noqa: RUF001
WIDE = 10  # times the smallest: a larger score leaves means and axes without a meaning

MARKDOWN = re.compile(r"[\\`*_|<&$~\[\]]")
LATEX_FOR = {
    "\\": r"\textbackslash{}",
    "`": r"\textasciigrave{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "''",
    "±": r"$\pm$",
    NONE: "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "-": "-{}",  # two hyphens would become a dash
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
LATEX = re.compile(rf"[{re.escape(''.join(LATEX_FOR).replace('-', ''))}]|-(?=-)")


@dataclass(frozen=True)
class Row:
    """A model in a table.

    Attributes:
        model: its name.
        runs: its finished runs.
        comparison: with the baseline; empty for the baseline itself and a model without scores.
        published: a published figure of the test set.
        states: of the runs that were started with its options.
    """

    model: str
    runs: Sequence[Result]
    comparison: Comparison
    published: float | None = None
    states: Collection[str] = ()

    def scores(self, subset: str) -> list[float]:
        """The main scores of the runs on `valid` or `test`."""
        return [score.value for run in self.runs if (score := run.main(subset))]

    @property
    def missing(self) -> str:
        """What the table and the bars show if no run has finished; otherwise empty."""
        if self.runs:
            return ""
        if not self.states:
            return "not run"
        return "failed" if set(self.states) == {"failed"} else "not finished"

    @property
    def parameters(self) -> int | None:
        """The number of parameters."""
        return next((run.parameters for run in self.runs if run.parameters is not None), None)

    @property
    def words_per_second(self) -> float | None:
        """The median over the runs of their speed in training, in target words."""
        found = [run.words_per_second for run in self.runs if run.words_per_second is not None]
        return statistics.median(found) if found else None


@dataclass(frozen=True)
class Table:
    """The models of a task. `metric` is BLEU or perplexity, or empty if no run has a score."""

    task: Task
    metric: str
    rows: tuple[Row, ...]

    @property
    def digits(self) -> int:
        """The decimals of scores: one for perplexities from 20, otherwise two."""
        values = [value for row in self.rows for name in SUBSETS for value in row.scores(name)]
        smallest = min(filter(math.isfinite, values), default=math.inf)
        return 1 if self.metric == PERPLEXITY and smallest >= 20 else 2


def make_table(task: Task, results: Results, comparisons: Mapping[str, Comparison]) -> Table:
    """The table of a task; `comparisons` are those of `significance.compare`."""
    published = task.published.values if task.published is not None else {}
    rows = tuple(
        Row(
            model.name,
            results.of(task, model),
            comparisons.get(model.name, Comparison({})),
            published.get(model.name),
            _states(task, model, results),
        )
        for model in task.models
    )
    runs = [run for row in rows for run in row.runs]
    scores = [score for run in runs for subset in SUBSETS if (score := run.main(subset))]
    return Table(task, scores[0].metric if scores else "", rows)


def _states(task: Task, model: Model, results: Results) -> set[str]:
    """The states of the runs of a model that were started with its options."""
    folder = f"{task.name}/{model.folder}/"
    runs = {name for name in results.states if name.startswith(folder)} - results.outdated
    return {results.states[name] for name in runs} - {"waiting"}


def spread(values: Sequence[float], digits: int) -> str:
    """Mean, and the sample standard deviation of more than one value.

    If the largest is more than ten times the smallest, as of a model that diverged with one seed, a
    mean would say nothing: the text is the range.
    """
    if is_wide(values):
        return f"{number(min(values), digits)} to {number(max(values), digits)}"
    mean = number(statistics.fmean(values), digits)
    if len(values) == 1 or not all(map(math.isfinite, values)):
        return mean
    return f"{mean} ± {number(statistics.stdev(values), digits)}"


def is_wide(values: Sequence[float]) -> bool:
    """Whether the largest of finite values is more than ten times the smallest."""
    return all(map(math.isfinite, values)) and max(values) > WIDE * min(values)


def number(value: float, digits: int) -> str:
    """A number with some decimals, or such as 1.2e16 from 10,000."""
    if 1e4 <= abs(value) < math.inf:
        return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:.{digits}f}"


def text_rows(table: Table) -> list[list[str]]:
    """The header and the rows of a table as text, without escapes."""
    metric = f" {table.metric}{ARROWS[table.metric]}" if table.metric else ""
    header = ["model", "parameters", "seeds", f"valid{metric}", f"test{metric}"]
    # sacrebleu's bootstrap test has one tail: see `significance`
    header += ["difference", "p (one tail, Holm)" if table.metric == "BLEU" else "p (Holm)"]
    header += ["published"] if table.task.published is not None else []
    return [[*header, "words/s"], *(_text_row(table, row) for row in table.rows)]


def _text_row(table: Table, row: Row) -> list[str]:
    finished, planned = len(row.runs), len(table.task.seeds)
    found = [
        " ".join(row.model.split()),
        NONE if row.parameters is None else f"{row.parameters:,}",
        str(planned) if finished == planned else f"{finished} of {planned}",
    ]
    for subset in SUBSETS:
        scores = row.scores(subset)
        if scores:
            some = "" if len(scores) == finished else f" ({len(scores)} of {finished} seeds)"
            found.append(spread(scores, table.digits) + some)
        else:
            found.append(row.missing or NONE)
    difference, p = row.comparison.difference, row.comparison.p
    if row.model == table.task.baseline:
        found.append("baseline")
    else:
        found.append(NONE if difference is None else _signed(difference, table.digits))
    found.append(NONE if p is None else _p_value(p.corrected, _level(table.metric)))
    if table.task.published is not None:
        found.append(NONE if row.published is None else f"{row.published:g}")
    speed = row.words_per_second
    return [*found, NONE if speed is None else f"{speed:,.0f}"]


def _signed(difference: float, digits: int) -> str:
    """A difference with its sign, unless it rounds to zero."""
    text = number(abs(difference), digits)
    return ("-" if difference < 0 else "+") + text if float(text) else text


def _level(metric: str) -> float:
    """The level below which a corrected p-value counts."""
    return LEVEL if metric == PERPLEXITY else ONE_TAIL


def _p_value(p: float, level: float) -> str:
    """A p-value with three decimals, which is below the level if and only if the exact one is."""
    if p < 0.0005:
        return "<0.001"
    return f"<{level}" if p < level <= round(p, 3) else f"{p:.3f}"


# Formats


def markdown(table: Table) -> str:
    """The table in Markdown."""
    header, *rows = [[escape_markdown(cell) for cell in row] for row in text_rows(table)]
    sides = ["---", *["---:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, sides, *rows))


def latex(table: Table) -> str:
    """The table as a `tabular` of LaTeX, which needs no package."""
    texts = text_rows(table)
    header, *rows = map(_latex_row, texts)
    columns = len(texts[0])
    lines = [rf"\begin{{tabular}}{{l{'r' * (columns - 1)}}}", r"\hline", header, r"\hline"]
    lines += [*rows, r"\hline"]
    if table.task.published is not None:
        source = escape_latex(f"Published: {table.task.published.source}")
        lines.append(rf"\multicolumn{{{columns}}}{{l}}{{{source}}} \\")
    return "\n".join([*lines, r"\end{tabular}", ""])


def _latex_row(row: Sequence[str]) -> str:
    name, *figures = map(escape_latex, row)
    if name.startswith(("[", "*")):  # it would be an argument of the row before
        name = "{}" + name
    figures = [re.sub(r"^-(?=\d)", "$-$", figure) for figure in figures]
    return " & ".join([name, *figures]) + r" \\"


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is."""
    return MARKDOWN.sub(r"\\\g<0>", text)


def escape_latex(text: str) -> str:
    """Text that LaTeX shows as it is."""
    return LATEX.sub(lambda match: LATEX_FOR[match[0]], text)


def as_csv(table: Table) -> str:
    """The table as CSV in full precision, with empty cells where there is nothing."""
    header = ["model", "parameters", "seeds", "metric"]
    header += [f"{subset}_{what}" for subset in SUBSETS for what in ("mean", "stdev", "seeds")]
    header += ["difference", "difference_low", "difference_high"]
    header += ["p", "p_corrected", "level", "different", "published", "words_per_second"]
    rows = []
    for row in table.rows:
        comparison, p = row.comparison, row.comparison.p
        low, high = _interval([*comparison.differences.values()])
        cells: dict[str, object] = dict(
            model=row.model,
            parameters=row.parameters,
            seeds=" ".join(str(run.run.seed) for run in row.runs),
            metric=table.metric,
            difference=comparison.difference,
            difference_low=low,
            difference_high=high,
            published=row.published,
            words_per_second=row.words_per_second,
        )
        for subset in SUBSETS:
            mean, stdev = _mean_and_stdev(row.scores(subset))
            seeds = " ".join(str(run.run.seed) for run in row.runs if run.main(subset))
            cells |= {f"{subset}_mean": mean, f"{subset}_stdev": stdev, f"{subset}_seeds": seeds}
        if p is not None:
            cells |= dict(p=p.raw, p_corrected=p.corrected)
            cells |= dict(level=_level(table.metric), different=comparison.different)
        rows.append(cells)
    return _csv(header, rows)


def runs_csv(
    plan: Plan, results: Results, comparisons: Mapping[str, Mapping[str, Comparison]]
) -> str:
    """A row for each run of a study, whatever its state; `comparisons` by task and model."""
    finished = {result.run.name: result for result in results.finished}
    figures = {name: _figures(result) for name, result in finished.items()}
    metrics = list(dict.fromkeys(key for found in figures.values() for key in found))
    header = ["task", "model", "seed", "state", *metrics, "p", "p_corrected", "level", "parameters"]
    header += ["words_per_second", "decoding", "seconds", "started", "machine", "torch", "version"]
    header += ["folder"]
    rows: list[dict[str, object]] = []
    for run in plan.runs:
        task, model = run.task.name, run.model.name
        row: dict[str, object] = dict(task=task, model=model, seed=run.seed, folder=str(run.folder))
        outdated = " with other options" if run.name in results.outdated else ""
        row["state"] = results.states[run.name] + outdated
        if run.name in finished:
            result, record = finished[run.name], finished[run.name].record
            row |= figures[run.name]
            p = comparisons[task].get(model, Comparison({})).by_seed.get(run.seed)
            if p is not None:
                row |= dict(p=p.raw, p_corrected=p.corrected, level=ONE_TAIL)  # of BLEU
            for name in ("parameters", "words_per_second", "decoding"):
                row[name] = getattr(result, name)
            for name in ("seconds", "machine", "torch", "version"):
                row[name] = getattr(record, name)
            row["started"] = record.first_started
        rows.append(row)
    return _csv(header, rows)


def _figures(result: Result) -> dict[str, float]:
    """The scores of a run by column. Of several with one metric the first is the main one."""
    found: dict[str, float] = {}
    for subset in SUBSETS:
        for score in getattr(result, subset):
            found.setdefault(f"{subset}_{score.metric}", score.value)
    return found


def _mean_and_stdev(values: Sequence[float]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    several = len(values) > 1 and all(map(math.isfinite, values))
    return statistics.fmean(values), statistics.stdev(values) if several else None


def _interval(differences: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % t-interval of the mean difference over three or more seeds."""
    if len(differences) < 3 or not all(map(math.isfinite, differences)):
        return None, None
    from scipy.stats import t

    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    half = float(t.ppf(0.975, len(differences) - 1)) * error
    return mean - half, mean + half


def _csv(header: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
