"""`write_page`: one HTML file to explore the weights, which opens without a network.

The page is a heat map, a table and some bars, so it needs no plotting library, which would add
megabytes to every file.

The file holds the norms of all weights, and the gates of some hidden units, from which the page
multiplies the weights of a unit.

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

from .sentences import Model, Sentence, Text
from .trace import Trace
from .weighted_sum import half_lives, initial_shares, norms

UNITS = 48  # of a layer and direction, that can be shown one by one: see `pick`
BINS = 20  # of the histogram of a forget gate
WORDS = 15  # for which an input gate opens most, and least
SCRIPTS = ("helpers.js", "weights.js", "heat_map.js", "units.js", "page.js")  # one module

Json = dict[str, Any]


def write_page(path: Path, models: Sequence[Model]) -> None:
    """Write an HTML page that shows the weights of models that have read the same sentences."""
    titles = [" ".join(one.given.without_boundaries()) for one in models[0].sentences]
    data = {"sentences": titles, "models": [*map(_model, models)]}
    encoded = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    folder = files(__package__) / "page_files"
    parts = {
        "title": html.escape(", ".join(model.name for model in models)),
        "style": (folder / "page.css").read_text(encoding="utf-8"),
        "script": "\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "data": encoded.replace("<", r"\u003c"),  # so that no token ends the element
    }
    index = (folder / "index.html").read_text(encoding="utf-8")
    page = re.sub(r"{{(\w+)}}", lambda match: parts[match[1]], index)
    path.write_text(page, encoding="utf-8", newline="\n")


def _model(model: Model) -> Json:
    sentences = [_sentence(sentence) for sentence in model.sentences]
    layers = []
    for k, first in enumerate(model.sentences[0].views):
        views = [sentence.views[k] for sentence in model.sentences]
        directions = []
        for d, trace in enumerate(first.directions):
            traces = [view.directions[d] for view in views]
            chosen = pick(torch.cat([one.forget_gates[:, 0] for one in traces]), UNITS)
            i = [one.input_gates[:, 0, chosen] for one in traces]  # T x K each
            f = [one.forget_gates[:, 0, chosen] for one in traces]
            for sentence, i_n, f_n in zip(sentences, i, f, strict=True):
                sentence["views"][k]["directions"][d] |= {"i": _pack(i_n), "f": _pack(f_n)}
            shown = statistics(chosen, [view.text for view in views], i, f)
            directions.append({"of": trace.cells.size(-1), "units": shown})
        layers.append({"side": first.side, "layer": first.layer, "directions": directions})
    names = {"name": model.name, "arch": model.architecture, "cells": model.cell_names}
    return {**names, "layers": layers, "sentences": sentences}


def _sentence(sentence: Sentence) -> Json:
    """The tokens, the norms and the attention of a sentence."""
    used = (*(view.text for view in sentence.views), sentence.source, sentence.target)
    texts = list(dict.fromkeys(text for text in used if text is not None))
    found: Json = {
        "texts": [{"tokens": t.tokens, "words": t.words, "wordOf": t.word_of} for t in texts],
        "target": texts.index(sentence.target),
        "views": [
            {"text": texts.index(view.text), "directions": [*map(_direction, view.directions)]}
            for view in sentence.views
        ],
    }
    if sentence.source is not None:
        found["source"] = texts.index(sentence.source)
    if sentence.attention is not None:
        found["attention"] = _pack(sentence.attention)
    return found


def _direction(trace: Trace) -> Json:
    """The norms of the weights as a triangle, row by row: t after t, and for each t all its j."""
    size = len(trace.cells)
    t, j = torch.triu_indices(size, size) if trace.reverse else torch.tril_indices(size, size)
    return {
        "reverse": trace.reverse,
        "norms": _pack(norms(trace)[t, j, 0]),
        "shares": _pack(initial_shares(trace)[:, 0].mean(-1)),  # mean over the units
        "startsAtZero": not bool(trace.c_0.any()),
    }


def _pack(x: Tensor) -> str:
    """Numbers of 32 bits, little-endian, in base64."""
    return base64.b64encode(x.numpy().astype("<f4").tobytes()).decode()


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
