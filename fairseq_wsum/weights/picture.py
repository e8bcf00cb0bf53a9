"""`draw`: the paper's picture of the weighted sum, with matplotlib.

A sentence is a square. The shade of row j in column t is the norm of w^t_j: how much of word j is
in the memory cell after word t. Levy et al. (ACL 2018).

Shapes: j and t are the n words, or tokens, of a sentence.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .sentences import Model, Sentence, View, join_norms
from .weighted_sum import norms, weights

# what to leave out, so that equal pictures are equal files
METADATA: dict[str, dict[str, None]] = {
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fairseq-wsum",
    "pdf.fonttype": 42,
    "text.usetex": False,  # tokens are no TeX
}
DPI = 160
LARGEST = 2**16  # pixels of a side
COLOURS = "magma_r"
LONGEST = 60  # characters of a label
CONTROL = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")  # an SVG may not contain most of these

# Inches, and points for fonts
PAGE = 12.0  # the width beyond which a sentence begins a new row
MARGIN = 0.2
SPACE = 0.05  # between a label and what is beside it
GAP = 0.45  # between sentences
BAR = 0.14  # the width of the colour bar, and of its ticks and its label
BAR_TEXT = 0.75
AXIS = 0.24  # the description of an axis
LINE = 0.22  # a line of the title
SMALL = 8.0


@dataclass(frozen=True)
class Square:
    """What is drawn for a sentence.

    Attributes:
        words: the labels of rows and columns, n of them: the words, of which very long ones are
            cut off, and with U+FFFD in place of control characters.
        weights: row j, column t, n x n; NaN below the diagonal of a layer with one direction.
        backward: the diagonal of the backward direction, n; None in a layer with one direction.
        model: the name of the model, if there are several.
    """

    words: tuple[str, ...]
    weights: Tensor
    backward: Tensor | None
    model: str = ""

    def largest(self) -> float:
        """The largest weight, or 1 if all are zero."""
        parts = [part for part in (self.weights, self.backward) if part is not None]
        return max(float(part.nan_to_num().max()) for part in parts) or 1.0

    def divided(self, number: float, model: str) -> Square:
        """The same with all weights divided by a number, and the name of its model."""
        backward = None if self.backward is None else self.backward / number
        return Square(self.words, self.weights / number, backward, model)


def draw(
    path: Path,
    models: Sequence[Model],
    *,
    side: str | None = None,
    layer: int | None = None,
    unit: int | None = None,
    join: bool = False,
) -> None:
    """Draw the weights of one layer on every sentence of some models.

    Above the diagonal is the forward direction, below it the backward one. On the diagonal each of
    them has a triangle. All sentences have the same scale; with several models it is that of shares
    of the largest norm of each model. A PDF file has a page for each sentence,
    as large as the sentence needs; a PNG or SVG file has all sentences, in rows. Equal models give
    identical files. The fonts are those of matplotlib's settings.

    Args:
        path: a .png, .svg or .pdf file.
        models: the models with their sentences.
        side: `encoder` or `decoder`; by default the encoder, if it computes a weighted sum.
        layer: the number of the layer, from 1; by default the first.
        unit: the index of a hidden unit, from 0, to draw |w^t_j| of this unit. By default, the L2
            norm over all units.
        join: whether to draw words in place of subword tokens, as in `join_norms`.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the side, the layer or the unit does not exist, or the sentences do not fit into
            a PNG file.
    """
    import matplotlib
    from matplotlib.backends.backend_pdf import PdfPages

    kind = path.suffix.lower()
    of_models, title = [], []
    for model in models:
        views = [find_view(sentence, side, layer) for sentence in model.sentences]
        own = [square(view, unit, join) for view in views]
        lines = _title(model, views[0], unit)
        if len(models) > 1:
            largest, name = max(map(Square.largest, own)), CONTROL.sub("\ufffd", model.name)
            own = [one.divided(largest, name) for one in own]
            lines = [": ".join((lines[0], ", ".join(lines[1:])))]
        of_models.append(own)
        title += lines
    rows = list(zip(*of_models, strict=True))  # models side by side
    label = "norm of the weights" if unit is None else "absolute value of the weight"
    label += ", as a share of the model's largest" if len(models) > 1 else ""
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        if kind == ".svg":
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # its viewer has them
        if kind == ".pdf":
            with PdfPages(path, metadata=METADATA.get(kind)) as pages:
                for page in figures(rows, title, label, each=True):
                    pages.savefig(page)
        else:
            (figure,) = figures(rows, title, label)
            if kind == ".png" and max(figure.get_size_inches()) * DPI > LARGEST:
                raise ValueError(
                    "--picture: the sentences do not fit into a PNG file; give fewer, or a file "
                    ".pdf or .svg"
                )
            figure.savefig(path, format=kind[1:], dpi="figure", metadata=METADATA.get(kind))


def find_view(sentence: Sentence, side: str | None, layer: int | None) -> View:
    """The first view of a side and a layer, or of any where they are None.

    Raises:
        ValueError: there is none.
    """
    for view in sentence.views:
        if side in (None, view.side) and layer in (None, view.layer):
            return view
    known = ", ".join(f"{view.side} {view.layer}" for view in sentence.views)
    raise ValueError(f"--side, --layer: the layers with weighted sums are {known}; choose one")


def square(view: View, unit: int | None = None, join: bool = False) -> Square:
    """The norms of a layer's weights, or |w^t_j| of a unit, as `draw` shows them.

    Raises:
        ValueError: there is no such unit.
    """
    units = view.directions[0].cells.size(-1)
    if unit is not None and not 0 <= unit < units:
        where = f"layer {view.layer} of the {view.side}"
        raise ValueError(f"--unit {unit}: {where} has the units 0 to {units - 1}")
    parts = []
    for trace in view.directions:
        part = norms(trace) if unit is None else weights(trace, [unit])[..., 0].abs()
        part = part[..., 0].detach().cpu()  # t x j
        parts.append((join_norms(part, view.text, trace.reverse) if join else part).t())
    words = tuple(map(_label, view.text.words if join else view.text.tokens))
    above = torch.ones_like(parts[0], dtype=torch.bool).triu()
    if len(parts) == 1:
        return Square(words, parts[0].masked_fill(~above, torch.nan), None)
    forward, backward = parts
    return Square(words, torch.where(above, forward, backward), backward.diagonal())


def _label(word: str) -> str:
    shown = word if len(word) <= LONGEST else f"{word[: LONGEST - 1]}…"
    return CONTROL.sub("\ufffd", shown)


def _title(model: Model, view: View, unit: int | None) -> list[str]:
    parts = [view.side, f"layer {view.layer}", f"cell {model.cell_names[view.side]}"]
    parts += [] if unit is None else [f"unit {unit}"]
    lines = [CONTROL.sub("\ufffd", model.name), ", ".join(parts)]
    both = len(view.directions) == 2
    return [*lines, "forward above the diagonal, backward below"] if both else lines


def figures(
    rows: Sequence[Sequence[Square]], title: Sequence[str], label: str, each: bool = False
) -> Iterator[Any]:
    """The matplotlib figures of some sentences: one of all, or one of each.

    Args:
        rows: the sentences, each in every model.
        title: lines of text above them.
        label: the description of the colour bar.
        each: whether each sentence has its own figure.
    """
    largest = max(one.largest() for row in rows for one in row)
    many = len(rows) > 1
    boxes = [
        [_Box(one, one.model or str(k) * many) for one in row]
        for k, row in enumerate(rows, start=1)
    ]
    for page in [[row] for row in boxes] if each else [boxes]:
        yield _page(page, title, label, largest)


class _Box:
    """The place of a sentence on a page. Sizes are in inches."""

    def __init__(self, square: Square, number: str) -> None:
        self.square, self.number = square, number
        n = len(square.words)
        self.side = min(0.45 * n, max(0.16 * n, 4.5)) if n < 100 else max(16.0, 0.08 * n)
        self.font = min(9.0, 0.75 * 72 * self.side / n)
        self.before = AXIS + max(_width(word, self.font) for word in square.words) + 2 * SPACE
        self.left = max(self.before, 1.2 * _width(number, SMALL) + SPACE)  # the number is bold
        self.size = self.left + max(self.side, 2.0)  # the descriptions of the axes need this
        self.x = self.y = 0.0  # the top left corner

    def draw(self, figure: Any, largest: float) -> Any:
        """Draw the sentence; returns what the colour bar describes."""
        from matplotlib.collections import PolyCollection

        n = len(self.square.words)
        style: dict[str, Any] = dict(
            cmap=COLOURS, clim=(0, largest), edgecolors="white", linewidths=0.4
        )
        x, y = self.x + self.left, self.y + self.before
        axes = _axes(figure, x, y, self.side, self.side)
        axes.set(xlim=(0, n), ylim=(n, 0))
        mesh = axes.pcolormesh(self.square.weights.numpy(), **style)
        if self.square.backward is not None:
            corners = [((k, k), (k, k + 1), (k + 1, k + 1)) for k in range(n)]
            axes.add_collection(
                PolyCollection(corners, array=self.square.backward.numpy(), **style)
            )
            axes.plot((0, n), (0, n), color="0.3", linewidth=0.6)
        axes.set_axis_off()
        for k, word in enumerate(self.square.words):
            at = (k + 0.5) * self.side / n
            row, column = dict(ha="right", va="center_baseline"), dict(ha="center", va="bottom")
            _text(figure, x - SPACE, y + at, word, size=self.font, **row)
            _text(figure, x + at, y - SPACE, word, size=self.font, rotation=90, **column)
        _text(figure, x, self.y, "in the memory cell after this word")
        _text(figure, self.x, y, "weight of this word", rotation=90)
        _text(figure, self.x, self.y, self.number, weight="bold")
        return mesh


def _page(rows: Sequence[Sequence[_Box]], title: Sequence[str], label: str, largest: float) -> Any:
    """A figure of some sentences, from left to right, beside a colour bar.

    With several models, a sentence begins on the left, and is followed by itself in the others.
    """
    from matplotlib.figure import Figure

    top = MARGIN + LINE * len(title) + 2 * SPACE
    x, y, below, right = MARGIN, top, top, MARGIN + max(_width(line, 10) for line in title)
    for k, box in ((k, box) for row in rows for k, box in enumerate(row)):
        begins_row = x + box.size > PAGE if len(rows[0]) == 1 else k == 0
        if x > MARGIN and begins_row:
            x, y = MARGIN, below + GAP
        box.x, box.y = x, y
        x += box.size + GAP
        below, right = max(below, y + box.size), max(right, box.x + box.size)
    width, height = right + GAP + BAR + BAR_TEXT, below + MARGIN
    figure = Figure((width, height), dpi=DPI)
    for number, line in enumerate(title):
        weight = "normal" if number else "bold"
        _text(figure, MARGIN, MARGIN + number * LINE, line, size=SMALL + 1, weight=weight)
    shown = [box.draw(figure, largest) for row in rows for box in row]
    first = rows[0][0]
    bar = _axes(figure, right + GAP, first.y + first.before, BAR, min(first.side, 3.0))
    colours: Any = figure.colorbar(shown[0], cax=bar)
    colours.solids.set_edgecolor("face")  # without it, some programs show thin white lines
    colours.outline.set_visible(False)
    colours.ax.tick_params(labelsize=SMALL, length=2)
    colours.set_label(label, fontsize=SMALL)
    return figure


def _axes(figure: Any, x: float, y: float, width: float, height: float) -> Any:
    """Axes from their top left corner, in inches."""
    w, h = figure.get_size_inches()
    return figure.add_axes((x / w, 1 - (y + height) / h, width / w, height / h))


def _text(figure: Any, x: float, y: float, text: str, **style: Any) -> None:
    w, h = figure.get_size_inches()
    style = dict(size=SMALL, va="top", ha="left", parse_math=False) | style
    figure.text(x / w, 1 - y / h, text, **style)


def _width(text: str, size: float) -> float:
    """The width of a text in inches, for a font of `size` points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    width = text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
    # A viewer's font has squares for these characters, for which matplotlib's may have small boxes.
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return max(width, wide * size) / 72
