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
from collections import Counter, defaultdict
from collections.abc import Sequence
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
        units: how many hidden units of a layer and direction can be shown one by one; see `pick`
            for which. There are fewer, but at least `FEWEST`, if the file would be larger than
            `LARGEST`.
    """
    names = ", ".join(model.name for model in models)
    titles = [title(sentence) for sentence in models[0].sentences]
    data = [with_norms(model) for model in models]
    while True:
        for found, model in zip(data, models, strict=True):
            add_units(found, model, units)
        page = fill(names, {"sentences": titles, "models": data})
        if len(page) <= LARGEST or units <= FEWEST:
            break
        units = max(FEWEST, min(units - 1, units * LARGEST // len(page)))
    path.write_bytes(page)


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
    levels = ((x.double() - low) / (high - low)).clamp(0, 1) * LEVELS
    return base64.b64encode(levels.round().numpy().astype("<u2").tobytes()).decode()


# What does not depend on the number of units


def with_norms(model: Model) -> Json:
    """The data of a model for all units together."""
    return {
        "name": model.name,
        "arch": model.architecture,
        "cells": model.cell_names,
        "layers": [{"side": one.side, "layer": one.layer} for one in model.sentences[0].views],
        "sentences": [sentence_json(sentence) for sentence in model.sentences],
    }


def sentence_json(sentence: Sentence) -> Json:
    """The tokens, the norms and the attention of a sentence."""
    texts: list[Text] = []
    views = [
        {
            "text": number(view.text, texts),
            "directions": [pack_norms(trace) for trace in view.directions],
        }
        for view in sentence.views
    ]
    found: Json = {"target": number(sentence.target, texts), "views": views}
    if sentence.source is not None:
        found["source"] = number(sentence.source, texts)
    if sentence.attention is not None:
        found["attention"] = pack(sentence.attention, 0, 1)
    found["texts"] = [
        {"tokens": text.tokens, "words": text.words, "wordOf": text.word_of} for text in texts
    ]
    return found


def number(text: Text, texts: list[Text]) -> int:
    """The index of a text in a list, to which it is added if it is new."""
    if text not in texts:
        texts.append(text)
    return texts.index(text)


def pack_norms(trace: Trace) -> Json:
    """The norms of the weights as a triangle, row by row: t after t, and for each t all its j."""
    size = len(trace.cells)
    found = norms(trace)[..., 0]
    share = initial_shares(trace)[:, 0].mean(-1)  # mean over the units
    t, j = torch.triu_indices(size, size) if trace.reverse else torch.tril_indices(size, size)
    largest = float(found.max()) or 1.0
    low, high = bounds(share)
    return {
        "reverse": trace.reverse,
        "largest": largest,
        "norms": pack(found[t, j], 0, largest),
        "shares": pack(share, low, high),
        "sharesRange": (low, high),
        "startsAtZero": not bool(trace.c_0.any()),
    }


# Single units


def add_units(found: Json, model: Model, units: int) -> None:
    """Add the gates and the statistics of some units to the data of a model."""
    for k, layer in enumerate(found["layers"]):
        views = [sentence.views[k] for sentence in model.sentences]
        layer["directions"] = []
        for d in range(len(views[0].directions)):
            inputs = [view.directions[d].input_gates[:, 0] for view in views]  # T x H each
            forgets = [view.directions[d].forget_gates[:, 0] for view in views]
            chosen = pick(torch.cat(forgets), units)
            i, f = [part[:, chosen] for part in inputs], [part[:, chosen] for part in forgets]
            ranges = {"i": bounds(torch.cat(i)), "f": bounds(torch.cat(f))}
            for sentence, i_n, f_n in zip(found["sentences"], i, f, strict=True):
                direction = sentence["views"][k]["directions"][d]
                direction["i"] = pack(i_n, *ranges["i"])
                direction["f"] = pack(f_n, *ranges["f"])
            shown = statistics(chosen, [view.text for view in views], i, f)
            of = inputs[0].size(1)
            layer["directions"].append({"of": of, "ranges": ranges, "units": shown})


def pick(f: Tensor, units: int) -> list[int]:
    """The units to show, from their forget gates, N x H.

    They are a quarter with the longest half-lives, then those whose forget gate has the largest
    standard deviation.
    """
    units = min(units, f.size(1))
    longest = half_lives(f).argsort(stable=True, descending=True)[: math.ceil(units / 4)]
    spread = f.std(0, correction=0).index_fill(0, longest, -1)
    variable = spread.argsort(stable=True, descending=True)[: units - len(longest)]
    return sorted(torch.cat((longest, variable)).tolist())


def statistics(
    chosen: Sequence[int], texts: Sequence[Text], i: Sequence[Tensor], f: Sequence[Tensor]
) -> list[Json]:
    """Statistics of the chosen units over all sentences; i and f are their gates, T x K each."""
    inputs, forgets = torch.cat(list(i)), torch.cat(list(f))  # N x K
    life = half_lives(forgets)
    words, means = word_means(texts, i)
    count = min(WORDS, len(words))
    order = means.argsort(stable=True, dim=0, descending=True)

    def opened(rows: Tensor, k: int) -> list[tuple[str, float]]:
        return [(words[n], round(float(means[n, k]), 3)) for n in rows.tolist()]

    return [
        {
            "unit": unit,
            "life": round(float(life[k]), 3) if life[k].isfinite() else None,
            "forget": round(float(forgets[:, k].mean()), 4),
            "input": round(float(inputs[:, k].mean()), 4),
            # all gates are counted
            "bins": forgets[:, k].float().clamp(0, 1).histc(BINS, 0, 1).int().tolist(),
            "most": opened(order[:count, k], k),
            "least": opened(order[:, k].flip(0)[:count], k),
        }
        for k, unit in enumerate(chosen)
    ]


def word_means(texts: Sequence[Text], i: Sequence[Tensor]) -> tuple[list[str], Tensor]:
    """The words, and the mean of each unit's input gate over a word's tokens, words x K.

    If enough words occur twice, words that occur once are left out.
    """
    rows: dict[str, list[Tensor]] = defaultdict(list)
    for text, gates in zip(texts, i, strict=True):
        for gate, k in zip(gates, text.word_of, strict=True):
            rows[text.words[k]].append(gate)
    times = Counter(word for text in texts for word in text.words)
    often = [word for word, count in times.items() if count >= 2]
    words = often if len(often) >= 2 * WORDS else list(rows)
    return words, torch.stack([torch.stack(rows[word]).mean(0) for word in words])


def bounds(gates: Tensor) -> tuple[float, float]:
    """0 and 1, or wider if a user's own cell has gates beyond them."""
    return min(0.0, float(gates.min())), max(1.0, float(gates.max()))
