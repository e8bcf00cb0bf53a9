"""The pictures of a report: learning curves, and bars of the test scores. They need matplotlib.

Both can be read without colours: lines differ in shade, dashes and marker.
"""

from __future__ import annotations

import math
import statistics
import textwrap
import warnings
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from ..weights.picture import METADATA, SETTINGS
from .results import PERPLEXITY, Result
from .tables import ARROWS, WIDE, Table, is_wide, number, spread

STYLE: dict[str, Any] = {
    **SETTINGS,
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

Curve = dict[int, list[float]]


def curves(table: Table) -> Any:
    """The validation perplexity by epoch: for each model the mean over its seeds, and their range.

    A model's line ends with the last epoch that all of its finished runs have validated, or before
    the first in which a perplexity is infinite or NaN. The axis is that of the models near the
    best: the lines of the others leave it.

    Returns:
        A figure of matplotlib, or None if no finished run has a curve.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    found = [(row.model, _curve(row.runs)) for row in table.rows]
    # of these there may be nothing to draw
    diverged = {
        row.model
        for row in table.rows
        if not all(math.isfinite(value) for run in row.runs for _, value in run.curve)
    }
    if not any(curve for _, curve in found):
        return None
    lasts = [statistics.fmean([*curve.values()][-1]) for _, curve in found if curve]
    most = _most(lasts)
    shown: list[float] = []  # what the axis has room for
    names = [_wrap(model) for model, _ in found]
    lines = sum(name.count("\n") + 1 for name in names)
    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH, max(3.6, 0.19 * lines + 0.8)), layout="constrained")
        axes = figure.add_subplot()
        for k, (model, curve) in enumerate(found):
            style = dict(color=COLOURS[k % len(COLOURS)], linestyle=DASHES[k % len(DASHES)])
            name = f" {names[k]}" if names[k].startswith("_") else names[k]  # which hides a label
            if not curve:
                if model in diverged:
                    axes.plot([], [], label=f"{name}\n(not finite)", **style)
                continue
            means = [statistics.fmean(values) for values in curve.values()]
            epochs = list(curve)
            if means[-1] > most:
                name += "\n(off the scale)"
            else:
                shown += [value for values in curve.values() for value in values]
            if any(len(values) > 1 for values in curve.values()):
                low, high = zip(*((min(v), max(v)) for v in curve.values()), strict=True)
                axes.fill_between(epochs, low, high, color=style["color"], alpha=0.2, linewidth=0)
            axes.plot(
                epochs,
                means,
                label=name,
                marker=MARKERS[k % len(MARKERS)],
                markersize=4,
                # different places on neighbouring lines, which may lie on each other
                markevery=(k % max(len(epochs) // 8, 1), max(len(epochs) // 8, 1)),
                linewidth=1.3,
                **style,
            )
        axes.set_yscale("log")
        margin = max(1.05, (max(shown) / min(shown)) ** 0.05)
        bottom, top = min(shown) / margin, max(shown) * margin
        axes.set_ylim(bottom, top)
        if top < 4 * bottom:  # in which few or none of the round numbers lie
            axes.yaxis.set_major_locator(MaxNLocator(6))
        else:
            wide = top > 1000 * bottom
            axes.yaxis.set_major_locator(
                LogLocator(subs=(1,) if wide else (1, 1.5, 2, 3, 5, 7), numticks=10)
            )
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:,.6g}" if value < 1e6 else number(value, 0))
        )
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

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib
    from matplotlib.figure import Figure

    drawn = [(row, row.scores("test")) for row in table.rows]
    if not any(_finite(scores) for _, scores in drawn):
        return None
    published = [row.published for row in table.rows]
    means = [statistics.fmean(scores) for _, scores in drawn if scores]
    most = _most(_finite(means)) if table.metric == PERPLEXITY else math.inf
    names = [_wrap(row.model) for row, _ in drawn]
    height = max(0.42, 0.17 * max(name.count("\n") + 1 for name in names))
    with matplotlib.rc_context(STYLE):
        figure = Figure((WIDTH, 1.0 + height * len(drawn)), layout="constrained")
        axes = figure.add_subplot()
        for y, (row, scores) in enumerate(drawn):
            if not scores:
                why = row.missing or "no test score"
                axes.text(0, y, f" {why}", va="center", color="0.4", style="italic")
                continue
            dots = [value for value in _finite(scores) if value <= most]
            mean = statistics.fmean(scores)
            if not math.isfinite(mean) or mean > most:
                axes.text(0, y, " off the scale", va="center", color="0.4", style="italic")
            else:
                dots = [*scores]
                shade = BASELINE if row.model == table.task.baseline else BAR
                axes.barh(y, mean, height=0.62, color=shade, edgecolor=DARK, lw=0.6)
                if len(scores) > 1 and not is_wide(scores):
                    error = statistics.stdev(scores)
                    axes.errorbar(mean, y, xerr=error, color=DARK, capsize=4, lw=1.1)
            offsets = [0.17 * (1 if k % 2 else -1) for k in range(len(dots))]
            heights = [y + offset for offset in offsets]
            axes.plot(dots, heights, "o", color="white", mec=DARK, ms=3.6, mew=0.8)
            beside = axes.get_yaxis_transform()
            axes.text(1.02, y, spread(scores, table.digits), va="center", transform=beside)
        marks = [(value, y + 0.43) for y, value in enumerate(published) if value is not None]
        if marks:
            axes.plot(
                *zip(*marks, strict=True),
                linestyle="none",
                marker="^",
                ms=6,
                color=PUBLISHED,
                label="published",
                clip_on=False,
            )
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
        axes.set_yticks(range(len(drawn)), names)
        axes.set_ylim(len(drawn) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"test {table.metric}{ARROWS[table.metric]}")
        axes.set_title(table.task.name, loc="left", fontweight="bold")
    return figure


def save(figure: Any, path: Path) -> None:
    """Write a figure to an .svg file. Equal figures give identical files."""
    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the browser has them
        figure.savefig(path, metadata=METADATA[".svg"])


def _curve(runs: Sequence[Result]) -> Curve:
    """The perplexities of the runs, by the epochs that all of them have while all are finite."""
    found = [dict(run.curve) for run in runs if run.curve]
    epochs = sorted(set.intersection(*(set(curve) for curve in found))) if found else []
    values = {epoch: [curve[epoch] for curve in found] for epoch in epochs}
    return dict(takewhile(lambda item: all(map(math.isfinite, item[1])), values.items()))


def _most(means: Sequence[float]) -> float:
    """The largest mean perplexity that is drawn."""
    return WIDE * min(means, default=math.inf)


def _wrap(name: str) -> str:
    return textwrap.fill(" ".join(name.split()), NAME, break_on_hyphens=False)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
