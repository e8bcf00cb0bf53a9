"""The report of a study: a page in Markdown, and its tables and pictures as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..files import whole
from . import describe, pictures, tables
from .owner import check_owner, set_owner
from .plan import Plan, Run, Task
from .progress import standing
from .record import last_lines, read_log
from .results import Result, Results, read_results
from .significance import Comparison, compare
from .tables import Table

PAGE = "report.md"
RUNS = "runs.csv"
OURS = ".files"  # names of the files that the last report wrote
PICTURES = {  # by the end of the file's name: what it shows, and how
    "bars": ("test scores", "mean, sample standard deviation, and a dot for each seed"),
    "curves": ("validation perplexity by epoch", "mean and range over the finished seeds"),
}
NO_PICTURES = (
    "There are no pictures, because matplotlib is not installed: `pip install matplotlib`.\n"
)


@dataclass(frozen=True)
class Section:
    """The part of a report about a task."""

    task: Task
    runs: list[Result]  # the finished ones
    comparisons: Mapping[str, Comparison]
    table: Table


def write_report(plan: Plan, folder: Path, show: Callable[[str], None] | None = None) -> Path:
    """Write the report of what is finished.

    It has `report.md`; for each task `TASK.tex`, `TASK.csv`, `TASK-curves.svg` and `TASK-bars.svg`,
    the pictures only with matplotlib; and `runs.csv` with a row for each run. Files of an earlier
    report are replaced or removed. Other files in the folder stay as they are.

    Args:
        plan: the study.
        folder: where the report goes; it is created.
        show: gets the name and the table of each task, as Markdown.

    Returns:
        The path of `report.md`.

    Raises:
        ValueError: a run has a damaged file, or was made with other options; or the report would
            replace that of another study, or a file that no earlier report wrote.
    """
    check_owner(folder, plan.file, "to make a new report here, rename or remove that one")
    results = read_results(plan)
    sections = []
    for task in plan.tasks:
        comparisons = compare(task, results)
        table = tables.make_table(task, results, comparisons)
        sections.append(Section(task, results.of(task), comparisons, table))
    by_task = {section.task.name: section.comparisons for section in sections}
    files: dict[str, Any] = {RUNS: tables.runs_csv(plan, results, by_task)}  # text or a picture
    for section in sections:
        files |= _files(section)
    files[PAGE] = _page(plan, results, sections, files)
    _write(folder, files)
    set_owner(folder, plan.file)
    for section in sections:
        if show is not None:
            show(f"{section.task.name}\n\n{tables.markdown(section.table)}")
    return folder / PAGE


def _files(section: Section) -> Iterator[tuple[str, Any]]:
    """The names and contents of the files of a task."""
    name = section.task.name
    yield f"{name}.tex", tables.latex(section.table)
    yield f"{name}.csv", tables.as_csv(section.table)
    if find_spec("matplotlib") is not None:
        for kind, draw in (("curves", pictures.curves), ("bars", pictures.bars)):
            figure = draw(section.table)
            if figure is not None:
                yield f"{name}-{kind}.svg", figure


# The page


def _page(
    plan: Plan, results: Results, sections: list[Section], files: Mapping[str, object]
) -> str:
    states = Counter(results.states.values())
    count = f"{states['finished']} of {len(plan.runs)} runs are finished"
    count += f", {states['failed']} failed" if states["failed"] else ""
    title = tables.escape_markdown(plan.file.stem)
    parts = [f"# Study {title}\n", f"{date.today()}. {count}. Study: {describe.code(plan.file)}.\n"]
    if find_spec("matplotlib") is None:
        parts.append(NO_PICTURES)
    for section in sections:
        parts += _section(section, files)
    parts += _failed(plan, results)
    parts += _unfinished(plan, results)
    return "\n".join(part for part in parts if part)


def _section(section: Section, files: Mapping[str, object]) -> Iterator[str]:
    name = section.task.name
    yield f"## {tables.escape_markdown(name)}\n"
    yield describe.about(section.task)
    yield tables.markdown(section.table)
    yield describe.legend(section.table)
    yield describe.significance(section.table, section.comparisons)
    yield describe.scoring(section.runs)
    yield describe.hardware(section.runs)
    for kind, (what, shown) in PICTURES.items():
        if (file := f"{name}-{kind}.svg") in files:
            yield f"![{name}: {what}]({file})\n"
            yield f"{what.capitalize()}: {shown}.\n"


def _failed(plan: Plan, results: Results) -> Iterator[str]:
    failed = [run for run in plan.runs if results.states[run.name] == "failed"]
    if failed:
        yield "## Failed runs\n"
    for run in failed:
        place = f"{describe.code(run.name)}, in {describe.code(run.folder)}"
        yield f"{place}{_outdated(run, results)}:\n"
        yield last_lines(read_log(run.folder) or "(the log is empty)")


def _unfinished(plan: Plan, results: Results) -> Iterator[str]:
    runs = [run for run in plan.runs if results.states[run.name] not in ("finished", "failed")]
    if runs:
        yield "## Runs that are not finished\n"
        yield "".join(
            f"- {describe.code(run.name)}: {standing(run)}{_outdated(run, results)}\n"
            for run in runs
        )


def _outdated(run: Run, results: Results) -> str:
    return " (with other options than the file has now)" if run.name in results.outdated else ""


# Files


def _write(folder: Path, files: Mapping[str, Any]) -> None:
    """Write text and figures by name, and remove what else an earlier report has left."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / OURS
    ours = set(record.read_text("utf-8").splitlines()) if record.exists() else set()
    for name in files:
        if name not in ours and (folder / name).exists():
            raise ValueError(
                f"{folder / name} is not from an earlier report; move it elsewhere, so that the "
                "report does not replace it"
            )
    _write_names(record, sorted(ours | files.keys()))  # if this stops half-way, they are ours
    for name, content in files.items():
        with whole(folder / name) as partial:
            if isinstance(content, str):
                partial.write_text(content, "utf-8", newline="\n")
            else:
                pictures.save(content, partial)
    for name in ours - files.keys():
        (folder / name).unlink(missing_ok=True)
    _write_names(record, sorted(files))


def _write_names(path: Path, names: list[str]) -> None:
    with whole(path) as partial:
        partial.write_text("".join(f"{name}\n" for name in names), "utf-8")
