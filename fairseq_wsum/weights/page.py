"""`write_page`: one HTML file to explore the weights, which opens without a network.

The page is a heat map, a table and some bars, so it needs no plotting library, which would add
megabytes to every file.

The file holds the norms of all weights, and the gates of some hidden units, from which the page
multiplies the weights of a unit. Numbers have 16 bits.

Shapes: T time steps, H hidden units, K of them in the file, N steps of all sentences.
"""

from __future__ import annotations

import base64
import html
import json
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .sentences import BOUNDARIES, Model, Sentence, Text
from .trace import Trace
from .weighted_sum import half_lives, initial_shares, norms

LARGEST = 4_500_000  # bytes of a file; beyond it the file has fewer units
FEWEST = 8  # units of a layer and direction that every file has
LEVELS = 65535  # of a number in 16 bits
BINS = 20  # of the histogram of a forget gate
SCRIPTS = ("helpers.js", "weights.js", "heat_map.js", "units.js", "page.js")  # one module
WORDS = 15  # for which an input gate opens most, and least

Json = dict[str, Any]


def write_page(path: Path, models: Sequence[Model], *, units: int = 48) -> None:
    """Write an HTML page that shows the weights of one or more models.

    Args:
        path: the file to write.
        models: models that have read the same sentences.
        units: how many hidden units of a layer and direction can be shown one by one; see
            `Gates.pick` for which. There are fewer, but at least `FEWEST`, if the file would be
            larger than `LARGEST`.

    Raises:
        ValueError: there is no model or no sentence, the models differ in the number of sentences,
            or the gates of a model are not finite.
    """
    counts = {len(model.sentences) for model in models}
    if len(counts) != 1 or 0 in counts:
        found = ", ".join(f"{model.name}: {len(model.sentences)}" for model in models)
        raise ValueError(f"give models with the same sentences (sentences of {found or 'none'})")
    parts = [Part(model) for model in models]
    names = ", ".join(model.name for model in models)
    titles = [title(sentence) for sentence in models[0].sentences]

    def page(units: int) -> bytes:
        data = {"sentences": titles, "models": [part.json(units) for part in parts]}
        return fill(names, data)

    units = min(units, max((part.units for part in parts), default=0))
    made = page(units)
    if len(made) > LARGEST and units > FEWEST:
        least = len(page(FEWEST))
        # several times if layers have fewer units, so that the mean size of one tells too little
        while len(made) > LARGEST and units > FEWEST:
            unit = (len(made) - least) / (units - FEWEST)
            units = max(FEWEST, units - math.ceil((len(made) - LARGEST) / unit))
            made = page(units)
    path.write_bytes(made)


def fill(names: str, data: Json) -> bytes:
    """The page with its style, its script and the data."""
    folder = files(__package__) / "page_files"
    encoded = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    parts = {
        "title": html.escape(names),
        "style": (folder / "page.css").read_text(encoding="utf-8"),
        "script": "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "data": encoded.replace("<", r"\u003c"),  # so that no token ends the element
    }
    index = (folder / "index.html").read_text(encoding="utf-8")
    return re.sub(r"{{(\w+)}}", lambda match: parts[match[1]], index).encode()


def title(sentence: Sentence) -> str:
    """The words of a sentence, of the source if it is a translation."""
    text = sentence.source or sentence.target
    return " ".join(word for word in text.words if word not in BOUNDARIES)


def pack(x: Tensor, low: float, high: float) -> str:
    """Numbers between `low` and `high` in 16 bits each, little-endian, as base64."""
    levels = ((x.detach().cpu().double() - low) / (high - low)).clamp(0, 1) * LEVELS
    return base64.b64encode(levels.round().numpy().astype("<u2").tobytes()).decode()


@dataclass
class Gates:
    """The gates of one direction of one layer in all sentences.

    Attributes:
        texts: the tokens of each sentence.
        inputs, forgets: i_t and f_t of each sentence, T x H.
    """

    texts: list[Text] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    forgets: list[Tensor] = field(default_factory=list)

    def add(self, text: Text, trace: Trace) -> None:
        """Add a sentence."""
        self.texts.append(text)
        self.inputs.append(trace.input_gates[:, 0].detach().cpu())
        self.forgets.append(trace.forget_gates[:, 0].detach().cpu())

    def pick(self, units: int) -> list[int]:
        """The units to show: a quarter with the longest half-lives, then the most variable ones.

        The most variable units are those whose forget gate has the largest standard deviation.
        """
        f = torch.cat(self.forgets)
        units = min(units, f.size(1))
        longest = half_lives(f).argsort(stable=True, descending=True)[: math.ceil(units / 4)]
        spread = f.std(0, correction=0).index_fill(0, longest, -1)
        variable = spread.argsort(stable=True, descending=True)[: units - len(longest)]
        return sorted(torch.cat((longest, variable)).tolist())

    def json(self, units: int) -> tuple[Json, list[Json]]:
        """The statistics of the chosen units, and their gates in each sentence."""
        chosen = self.pick(units)
        i = [part[:, chosen] for part in self.inputs]
        f = [part[:, chosen] for part in self.forgets]
        ranges = {"i": bounds(torch.cat(i)), "f": bounds(torch.cat(f))}
        packed = [
            {"i": pack(i_k, *ranges["i"]), "f": pack(f_k, *ranges["f"])}
            for i_k, f_k in zip(i, f, strict=True)
        ]
        return {
            "of": self.inputs[0].size(1),
            "ranges": ranges,
            "units": self.statistics(chosen, i, f),
        }, packed

    def statistics(self, chosen: list[int], i: list[Tensor], f: list[Tensor]) -> list[Json]:
        """Statistics of units over all sentences; i and f are their gates, T x K each."""
        inputs, forgets = torch.cat(i), torch.cat(f)  # N x K
        life = half_lives(forgets)
        words, means = self.word_means(i)
        count = min(WORDS, len(words))
        order = means.argsort(stable=True, dim=0, descending=True)

        def opened(rows: Tensor, k: int) -> list[tuple[str, float]]:
            return [(words[n], round(float(means[n, k]), 3)) for n in rows.tolist()]

        found = []
        for k, unit in enumerate(chosen):
            bins = forgets[:, k].float().clamp(0, 1).histc(BINS, 0, 1)  # all gates are counted
            found.append(
                {
                    "unit": unit,
                    "life": round(float(life[k]), 3) if life[k].isfinite() else None,
                    "forget": round(float(forgets[:, k].mean()), 4),
                    "input": round(float(inputs[:, k].mean()), 4),
                    "bins": bins.int().tolist(),
                    "most": opened(order[:count, k], k),
                    "least": opened(order[:, k].flip(0)[:count], k),
                }
            )
        return found

    def word_means(self, i: list[Tensor]) -> tuple[list[str], Tensor]:
        """The words, and the mean of each unit's input gate over a word's tokens, words x K.

        If enough words occur twice, words that occur once are left out.
        """
        rows: dict[str, list[Tensor]] = defaultdict(list)
        times: dict[str, int] = defaultdict(int)
        for text, gates in zip(self.texts, i, strict=True):
            for gate, k in zip(gates, text.word_of, strict=True):
                rows[text.words[k]].append(gate)
            for word in text.words:
                times[word] += 1
        often = [word for word, count in times.items() if count >= 2]
        words = often if len(often) >= 2 * WORDS else list(rows)
        return words, torch.stack([torch.stack(rows[word]).mean(0) for word in words])


def bounds(gates: Tensor) -> tuple[float, float]:
    """0 and 1, or wider if a user's own cell has gates beyond them."""
    return min(0.0, float(gates.min())), max(1.0, float(gates.max()))


class Part:
    """The part of a model in the page's data.

    It reads each sentence once, as sentences may be computed on demand.
    """

    def __init__(self, model: Model) -> None:
        self.model = {"name": model.name, "arch": model.architecture, "cells": model.cell_names}
        self.layers: list[Json] = []
        self.gates: list[list[Gates]] = []  # layer x direction
        self.sentences = [self.read(sentence) for sentence in model.sentences]

    def read(self, sentence: Sentence) -> Json:
        """What the page knows of a sentence for any number of units."""
        texts: list[Text] = []
        views = []
        for k, view in enumerate(sentence.views):
            if k == len(self.layers):
                self.layers.append({"side": view.side, "layer": view.layer})
                self.gates.append([Gates() for _ in view.directions])
            for gates, trace in zip(self.gates[k], view.directions, strict=True):
                gates.add(view.text, trace)
            where = f"{self.model['name']}, {view.side} {view.layer}"
            directions = [pack_norms(trace, where) for trace in view.directions]
            views.append({"text": number(view.text, texts), "directions": directions})
        found: Json = {"target": number(sentence.target, texts), "views": views}
        if sentence.source is not None:
            found["source"] = number(sentence.source, texts)
        if sentence.attention is not None:
            found["attention"] = pack(sentence.attention, 0, 1)
        texts_json = [
            {"tokens": text.tokens, "words": text.words, "wordOf": text.word_of} for text in texts
        ]
        return {**found, "texts": texts_json}

    @property
    def units(self) -> int:
        """The hidden units of the largest layer."""
        return max((gates.inputs[0].size(1) for layer in self.gates for gates in layer), default=0)

    def json(self, units: int) -> Json:
        """The data with the gates of some units."""
        made = [[gates.json(units) for gates in layer] for layer in self.gates]
        layers = [
            {**layer, "directions": [statistics for statistics, _ in directions]}
            for layer, directions in zip(self.layers, made, strict=True)
        ]
        sentences = []
        for n, sentence in enumerate(self.sentences):
            views = []
            for view, layer in zip(sentence["views"], made, strict=True):
                directions = [
                    {**norms, **gates[n]}
                    for norms, (_, gates) in zip(view["directions"], layer, strict=True)
                ]
                views.append({**view, "directions": directions})
            sentences.append({**sentence, "views": views})
        return {**self.model, "layers": layers, "sentences": sentences}


def number(text: Text, texts: list[Text]) -> int:
    """The index of a text in a list, to which it is added if it is new."""
    if text not in texts:
        texts.append(text)
    return texts.index(text)


def pack_norms(trace: Trace, where: str) -> Json:
    """The norms of the weights as a triangle, row by row: t after t, and for each t all its j."""
    size = len(trace.cells)
    found = norms(trace)[..., 0]
    share = initial_shares(trace)[:, 0].mean(-1)  # mean over the units
    if not (found.isfinite().all() and share.isfinite().all()):
        raise ValueError(f"{where}: the gates give weights that are not finite")
    t, j = torch.triu_indices(size, size) if trace.reverse else torch.tril_indices(size, size)
    largest = float(found.max()) or 1.0
    low, high = bounds(share)
    return {
        "reverse": trace.reverse,
        "largest": largest,
        "norms": pack(found[t.to(found.device), j.to(found.device)], 0, largest),
        "shares": pack(share, low, high),
        "sharesRange": (low, high),
        "startsAtZero": not bool(trace.c_0.any()),
    }
