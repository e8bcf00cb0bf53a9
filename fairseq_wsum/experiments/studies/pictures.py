"""The pictures of a report: learning curves, and bars of the test scores. They need matplotlib.

Both can be read without colours: lines differ in shade, dashes and marker.
"""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from .results import PERPLEXITY, Result
from .table import Table, spread

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fairseq-wsum",  # equal pictures are equal files
    "text.parse_math": False,  # names of models are shown as they are
    "font.size": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# Neighbours differ in grey, too.
COLOURS = ("#000000", "#e08214", "#2166ac", "#7fbf7b", "#762a83", "#a0a0a0", "#b2182b")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (7, 1.5, 1.2, 1.5)))
MARKERS = "osD^vPX*<"
BAR, BASELINE, DARK, PUBLISHED = "0.85", "0.65", "0.1", "#b2182b"
MOST = 10  # times the best perplexity: models beyond this are off the scale


def draw(table: Table, folder: Path) -> Iterator[str]:
    """Write the pictures of a table to a folder, and return them in Markdown."""
    for kind, make, what in (
        ("bars", bars, "Test scores: mean, sample standard deviation, and a dot for each seed"),
        ("curves", curves, "Validation perplexity by epoch: mean and range over finished seeds"),
    ):
        file = folder / f"{table.task.name}-{kind}.svg"
        with matplotlib.rc_context(STYLE):
            if (figure := make(table)) is None:
                continue
            figure.savefig(file, metadata={"Date": None})
        yield f"![{what}](<{file.name}>)\n\n{what}."


def curves(table: Table) -> Figure | None:
    """The validation perplexity by epoch: for each model the mean over its seeds, and their range.

    A model's line ends with the last epoch that all of its finished runs have validated, or before
    the first in which a perplexity is infinite or NaN. Models far above the best have none, as the
    axis would leave no room for the others.
    """
    found = {_wrap(name): _curve(runs) for name, runs in table.runs.items()}
    lasts = {name: statistics.fmean(curve[max(curve)]) for name, curve in found.items() if curve}
    if not lasts:
        return None
    most = MOST * min(lasts.values())
    lines = sum(name.count("\n") + 1 for name in lasts)
    figure, axes = _figure(table, height=max(3.6, 0.19 * lines + 0.8))
    for k, name in enumerate(lasts):
        curve = found[name]
        if lasts[name] > most:
            name, curve = f"{name}\n(off the scale)", {}
        values, every = list(curve.values()), max(len(curve) // 8, 1)
        colour = COLOURS[k % len(COLOURS)]
        low, high = [min(v) for v in values], [max(v) for v in values]
        axes.fill_between(list(curve), low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(
            list(curve),
            [statistics.fmean(v) for v in values],
            label=name,
            color=colour,
            linestyle=DASHES[k % len(DASHES)],
            linewidth=1.3,
            marker=MARKERS[k % len(MARKERS)],
            markersize=4,
            markevery=(k % every, every),  # neighbouring lines may lie on each other
        )
    axes.set(xlabel="epoch", ylabel="validation perplexity", yscale="log")
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", which="both", color="0.9", linewidth=0.6)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3.5)
    return figure


def bars(table: Table) -> Figure | None:
    """The test scores of the models: mean, standard deviation, a dot for each seed, and published.

    A model has no bar if a score of it is infinite, as a mean of the others would flatter it, or if
    it is far above the best, as the axis would leave no room for the others.
    """
    if not table.metrics:
        return None
    metric = table.metrics[0]
    scores = {name: table.scores(name, "test", metric) for name in table.runs}
    means = {name: statistics.fmean(values) for name, values in scores.items() if values}
    best = min(filter(math.isfinite, means.values()), default=0)
    most = MOST * best if metric == PERPLEXITY else math.inf
    names = [_wrap(name) for name in scores]
    height = max(0.42, 0.17 * max(name.count("\n") + 1 for name in names))
    figure, axes = _figure(table, 1.0 + height * len(names))
    for y, (name, values) in enumerate(scores.items()):
        if not values or not means[name] <= most:  # which NaN is not
            why = " off the scale" if values else f" {table.missing[name]}"
            axes.text(0, y, why, va="center", color="0.4", style="italic")
        else:
            shade = BASELINE if name == table.task.baseline else BAR
            axes.barh(y, means[name], 0.62, color=shade, edgecolor=DARK, lw=0.6)
            if len(values) > 1:
                error = statistics.stdev(values)
                axes.errorbar(means[name], y, xerr=error, color=DARK, capsize=4, lw=1.1)
            heights = [y + 0.17 * (1 if k % 2 else -1) for k in range(len(values))]
            axes.plot(values, heights, "o", color="white", mec=DARK, ms=3.6, mew=0.8)
        if values:
            text = spread(values, table.digits(metric))
            axes.text(1.02, y, text, va="center", transform=axes.get_yaxis_transform())
    if metric == table.main and (published := table.published):
        heights = [list(scores).index(name) + 0.43 for name in published]
        axes.plot([*published.values()], heights, "^", ms=6, color=PUBLISHED, label="published")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"test {metric} ({'lower' if metric == PERPLEXITY else 'higher'} is better)")
    return figure


def _figure(table: Table, height: float) -> tuple[Figure, Any]:
    figure = Figure((7.5, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(table.task.name, loc="left", fontweight="bold")
    return figure, axes


def _curve(runs: Sequence[Result]) -> dict[int, list[float]]:
    """The perplexities of the runs, by the epochs that all of them have while all are finite."""
    curves = [run.curve for run in runs if run.curve]
    epochs = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    values = ((epoch, [curve[epoch] for curve in curves]) for epoch in epochs)
    return dict(takewhile(lambda item: all(map(math.isfinite, item[1])), values))


def _wrap(name: str) -> str:
    return textwrap.fill(name, 36, break_on_hyphens=False)
