"""The pictures of a report: learning curves, and bars of the test scores. They need matplotlib.

Both can be read without colours: lines differ in shade, dashes and marker.
"""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from .results import PERPLEXITY, Result

if TYPE_CHECKING:
    from .report import Table

KINDS = {
    "bars": "test scores: mean, sample standard deviation, and a dot for each seed",
    "curves": "validation perplexity by epoch: mean and range over the finished seeds",
}
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
WIDTH = 7.5  # inches
NAME = 36  # characters of a line of a model's name
MOST = 10  # times the best perplexity: models beyond this are off the scale


def curves(table: Table) -> Any:
    """The validation perplexity by epoch: for each model the mean over its seeds, and their range.

    A model's line ends with the last epoch that all of its finished runs have validated, or before
    the first in which a perplexity is infinite or NaN. The axis is that of the models near the
    best: the lines of the others leave it.

    Returns:
        A figure of matplotlib, or None if no finished run has a curve.
    """
    found = {name: curve for name, runs in table.runs.items() if (curve := _curve(runs))}
    if not found:
        return None
    lasts = {name: statistics.fmean([*curve.values()][-1]) for name, curve in found.items()}
    most = MOST * min(lasts.values())
    names = {name: _wrap(name) + "\n(off the scale)" * (lasts[name] > most) for name in found}
    lines = sum(name.count("\n") + 1 for name in names.values())
    shown = [
        value
        for name, curve in found.items()
        for values in curve.values()
        for value in values
        if lasts[name] <= most
    ]
    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH, max(3.6, 0.19 * lines + 0.8)), layout="constrained")
        axes = figure.add_subplot()
        for k, (name, curve) in enumerate(found.items()):
            epochs, values = list(curve), list(curve.values())
            colour, every = COLOURS[k % len(COLOURS)], max(len(epochs) // 8, 1)
            low, high = [min(v) for v in values], [max(v) for v in values]
            axes.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
            axes.plot(
                epochs,
                [statistics.fmean(v) for v in values],
                # a name that begins with an underscore would not be in the legend
                label=f" {names[name]}" if name.startswith("_") else names[name],
                color=colour,
                linestyle=DASHES[k % len(DASHES)],
                linewidth=1.3,
                marker=MARKERS[k % len(MARKERS)],
                markersize=4,
                markevery=(k % every, every),  # neighbouring lines may lie on each other
            )
        axes.set_yscale("log")
        margin = max(1.05, (max(shown) / min(shown)) ** 0.05)
        axes.set_ylim(bottom := min(shown) / margin, top := max(shown) * margin)
        few = top < 4 * bottom  # in which few or none of the round numbers lie
        round_numbers = LogLocator(subs=(1, 1.5, 2, 3, 5, 7), numticks=10)
        axes.yaxis.set_major_locator(MaxNLocator(6) if few else round_numbers)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color="0.9", linewidth=0.6)
        axes.set(xlabel="epoch", ylabel="validation perplexity")
        axes.set_title(table.task.name, loc="left", fontweight="bold")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3.5)
    return figure


def bars(table: Table) -> Any:
    """The test scores of the models: mean, standard deviation, a dot for each seed, and published.

    A model has no bar if a score of it is infinite, as a mean of the others would flatter it, or if
    it is far above the best, as the axis would leave no room for the others.

    Returns:
        A figure of matplotlib, or None if no finished run has a test score.
    """
    from .report import spread

    if not table.metrics:
        return None
    metric = table.metrics[0]
    scores = {name: table.scores(name, "test", metric) for name in table.runs}
    means = {name: statistics.fmean(values) for name, values in scores.items() if values}
    finite = [mean for mean in means.values() if math.isfinite(mean)]
    if not finite:
        return None
    most = MOST * min(finite) if metric == PERPLEXITY else math.inf
    names = [_wrap(name) for name in scores]
    height = max(0.42, 0.17 * max(name.count("\n") + 1 for name in names))
    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH, 1.0 + height * len(names)), layout="constrained")
        axes = figure.add_subplot()
        beside = axes.get_yaxis_transform()
        for y, (name, values) in enumerate(scores.items()):
            if not values or not means[name] <= most:  # which NaN is not
                why = " off the scale" if values else f" {table.missing[name]}"
                axes.text(0, y, why, va="center", color="0.4", style="italic")
            else:
                shade = BASELINE if name == table.task.baseline else BAR
                axes.barh(y, means[name], height=0.62, color=shade, edgecolor=DARK, lw=0.6)
                if len(values) > 1:
                    error = statistics.stdev(values)
                    axes.errorbar(means[name], y, xerr=error, color=DARK, capsize=4, lw=1.1)
                heights = [y + 0.17 * (1 if k % 2 else -1) for k in range(len(values))]
                axes.plot(values, heights, "o", color="white", mec=DARK, ms=3.6, mew=0.8)
            if values:
                text = spread(values, table.digits(metric))
                axes.text(1.02, y, text, va="center", transform=beside)
            if (figure_ := table.task.published.get(name)) is not None:
                label = None if axes.get_legend_handles_labels()[1] else "published"
                axes.plot(figure_, y + 0.43, "^", ms=6, color=PUBLISHED, label=label, clip_on=False)
        if table.task.published:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(
            f"test {metric} ({'lower' if metric == PERPLEXITY else 'higher'} is better)"
        )
        axes.set_title(table.task.name, loc="left", fontweight="bold")
    return figure


def save(figure: Any, path: Path) -> None:
    """Write a figure to an .svg file. Equal figures give identical files."""
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _curve(runs: Sequence[Result]) -> dict[int, list[float]]:
    """The perplexities of the runs, by the epochs that all of them have while all are finite."""
    found = [dict(run.curve) for run in runs if run.curve]
    epochs = sorted(set.intersection(*(set(curve) for curve in found))) if found else []
    values = ((epoch, [curve[epoch] for curve in found]) for epoch in epochs)
    return dict(takewhile(lambda item: all(map(math.isfinite, item[1])), values))


def _wrap(name: str) -> str:
    return textwrap.fill(name, NAME, break_on_hyphens=False)
