"""`fairseq-wsum report`: a page in Markdown, and its tables and pictures as files."""

from __future__ import annotations

import argparse
import csv
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import compress
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ..program import UserError, command_line
from .pictures import draw
from .plan import Plan, add_plan, read_plan
from .record import duration, last_lines, read_log, standing
from .results import SUBSETS, Result, read_results
from .runs_file import read_runs, write_runs
from .significance import LEVEL, SAMPLES
from .table import Table, number, spread

DESCRIPTION = "Make tables, significance tests and pictures of the finished runs of a study."
FOLDER = "report"
NONE = "–"  # noqa: RUF001
LEGEND = f"""\
`valid` and `test`: mean ± sample standard deviation over the finished seeds.
`difference`: the test score minus that of the baseline, averaged over the seeds that both have.
`words/s`: the median speed of training in target words, on the kind of machine that has most of the
runs; runs that share a machine slow each other down.

`p`: two-tailed, with Holm's correction; below {LEVEL} models differ. With two seeds or more it is
that of a paired t-test over the seeds (of a perplexity, its logarithms), which is weak with few
seeds: models that do not count as different may well differ. With one seed it is that of
sacrebleu's paired bootstrap test of the translations ({SAMPLES:,} samples, twice its p-value): a
difference holds for the two trained models, and not for the two kinds of model. Other scores of
models with one seed are not tested, nor perplexities that different tasks of fairseq computed."""


def main(given: Sequence[str]) -> None:
    """Write the report with a command line: tables to stdout, and its folder to stderr."""
    parser = argparse.ArgumentParser("fairseq-wsum report", description=DESCRIPTION)
    add_plan(parser)
    add = parser.add_argument
    help = "read the runs from the runs.json of earlier reports, not from their folders"
    add("--runs", type=Path, nargs="+", metavar="FILE.json", help=help)
    help = "the metrics of the tables, the main one first (default: all)"
    add("--metrics", nargs="+", default=[], metavar="METRIC", help=help)
    args = parser.parse_args(given)
    plan = read_plan(args.file, args.out)
    if not args.runs and not plan.out.is_dir():
        raise UserError(f"no folder {plan.out}: give the --out of `fairseq-wsum study`")
    results = read_runs(plan, args.runs) if args.runs else read_results(plan)
    for table in write_report(plan, results, args.metrics):
        print(f"{table.task.name}\n\n{markdown(table)}")
    print(plan.out / FOLDER, file=sys.stderr)


def write_report(plan: Plan, results: Sequence[Result], metrics: Sequence[str] = ()) -> list[Table]:
    """Write the report of what is finished, and return its tables.

    It has `report.md`; for each task `TASK.tex`, `TASK.csv`, `TASK-curves.svg` and `TASK-bars.svg`;
    and `runs.json`, from which it can be made again. `metrics` are those of the tables, the main
    one first, by default all.
    """
    tables = [Table(task, results, metrics) for task in plan.tasks]
    found = [metric for table in tables for metric in table.found]
    if found and (unknown := {*metrics} - {*found}):
        known = ", ".join(dict.fromkeys(map(repr, found)))
        raise UserError(f"--metrics {min(unknown)}: no task has it; they have {known}")
    folder = plan.out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    states = Counter(result.state for result in results)
    failed = f", {states['failed']} failed" if states["failed"] else ""
    parts = [
        f"# Study {escape(plan.file.stem)}",
        f"{date.today()}. {states['finished']} of {len(results)} runs are finished{failed}. "
        f"Study: `{plan.file}`.",
    ]
    for table in tables:
        name = table.task.name
        (folder / f"{name}.tex").write_text(latex(table), "utf-8")
        write_csv(folder / f"{name}.csv", [*table.rows.values()])
        parts += [f"## {escape(name)}", *_section(table), *draw(table, folder)]
    parts += [LEGEND, *_unfinished(results)]
    write_runs(folder / "runs.json", results)
    (folder / "report.md").write_text("\n\n".join(parts) + "\n", "utf-8")
    return tables


# Tables


def text_rows(table: Table) -> list[list[str]]:
    """The header and the rows of a table, without columns that have no figure."""
    published = table.published
    header = ["model", "parameters", "seeds"]
    tested = {m for (_, m), row in table.rows.items() if row["p_corrected"] is not None}
    for metric in table.metrics:
        header += [f"valid {metric}", f"test {metric}", "difference"]
        header += ["p (Holm)"] if metric in tested else []
    rows = [[*header, *(["published"] if published else []), "words/s"]]
    for model, runs in table.runs.items():
        planned, parameters = len(table.task.seeds), table.parameters(model)
        row = [
            model,
            NONE if parameters is None else f"{parameters:,}",
            str(planned) if len(runs) == planned else f"{len(runs)} of {planned}",
        ]
        if not runs:
            row[-1] += f", {table.missing[model]}"
        for metric in table.metrics:
            digits, exact = table.digits(metric), table.rows[model, metric]
            for subset in SUBSETS:
                scores = table.scores(model, subset, metric)
                row.append(spread(scores, digits) if scores else NONE)
            is_baseline = model == table.task.baseline
            row.append("baseline" if is_baseline else _signed(exact["difference"], digits))
            if metric in tested:
                row.append(_p_value(exact["p_corrected"]))
        if published:
            row.append(f"{published[model]:g}" if model in published else NONE)
        speed = table.speed(model)
        rows.append([*row, NONE if speed is None else f"{speed:,.0f}"])
    shown = [any(cell != NONE for cell in column[1:]) for column in zip(*rows, strict=True)]
    return [[*compress(row, shown)] for row in rows]


def _signed(difference: float | None, digits: int) -> str:
    """A difference with its sign, unless it rounds to zero."""
    if difference is None:
        return NONE
    text = number(abs(difference), digits)
    return ("-" if difference < 0 else "+") + text if float(text) else text


def _p_value(p: float | None) -> str:
    """A p-value with three decimals, which is below the level only if the exact one is."""
    if p is None:
        return NONE
    if p < 0.0005:
        return "<0.001"
    return f"<{LEVEL}" if p < LEVEL <= round(p, 3) else f"{p:.3f}"


def markdown(table: Table) -> str:
    """The table in Markdown."""
    header, *rows = text_rows(table)
    return _tabulate([header, *([escape(cell) for cell in row] for row in rows)], "pipe")


def latex(table: Table) -> str:
    """The table as a `tabular` of LaTeX."""
    return _tabulate(text_rows(table), "latex")


def _tabulate(rows: Sequence[Sequence[str]], form: str) -> str:
    sides = ["left", *["right"] * (len(rows[0]) - 1)]
    return tabulate(rows, "firstrow", form, colalign=sides, disable_numparse=True) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"[\\`*_|<&$~\[\]]", r"\\\g<0>", text)


# The page


def _section(table: Table) -> Iterator[str]:
    task = table.task
    options = [f"`{option}`" for option in command_line(task.options)]
    data = [] if task.data is None else [f"on `{task.data}`"]
    yield " ".join([f"Recipe `{Path(task.recipe).name}`", *data, *options]) + "."
    models = [m for m in task.models if dict(m.options) != {"cell": m.name}]
    if models:
        yield "\n".join(
            f"- {escape(m.name)}: `{' '.join(command_line(m.options))}`" for m in models
        )
    yield markdown(table).rstrip()
    if table.published:
        yield f"Published test figures: {escape(task.source).rstrip('.')}."
    runs = [run for of_model in table.runs.values() for run in of_model]
    scores = [item for run in runs for item in run.scores.items()]
    ways = {" ".join([metric, *one.way]) for (subset, metric), one in scores if subset == "test"}
    decoding = {run.decoding for run in runs} - {""}
    if ways:
        yield "Test scores: " + "; ".join(f"`{way}`" for way in [*sorted(ways), *sorted(decoding)])
    if runs:
        records = [run.record for run in runs if run.record is not None]
        machines = Counter(f"{record.machine}, {record.version}" for record in records)
        where = "; ".join(f"{what} ({count})" for what, count in machines.items())
        started = sorted(record.began[:10] for record in records)
        where += f". {started[0]} to {started[-1]}"
        # of old runs in a file the time may not be known
        if seconds := [record.seconds for record in records if record.seconds is not None]:
            where += f", {duration(min(seconds))} to {duration(max(seconds))} a run"
        yield f"Runs: {where}."


def _unfinished(results: Sequence[Result]) -> Iterator[str]:
    runs = [(result.run, result.state) for result in results if result.state != "finished"]
    if runs:
        yield "## Runs that are not finished"
    for run, state in runs:
        yield f"- `{run.name}`: {state if state == 'waiting' else standing(run)}"
        if state == "failed":
            # two spaces more, as a block of code within the item
            log = textwrap.indent(last_lines(read_log(run.folder)).rstrip(), "  ")
            yield log or "(the log is empty)"


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0] if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
