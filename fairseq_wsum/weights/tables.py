"""`Tables`: how long words stay in memory and what the hidden units do, over a corpus.

A step is a token. The life of a token ends when its norm has fallen below a share of its first one,
as in `lifetimes`. The life of a word is that of its last token in the order of the direction: the
one with which the word is complete.

Shapes: T time steps, W words of a sentence, H hidden units.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy
import torch
from numpy.typing import NDArray

from ..files import whole
from .sentences import BOUNDARIES, SPECIAL, Sentence, Text, last_tokens
from .trace import Trace
from .weighted_sum import SHARE, half_lives, lifetimes

Array = NDArray[numpy.floating]
Row = list[str | int | float]

LATER = (1, 2, 4, 8, 16)  # numbers of steps after which the remaining norm is measured
QUANTILES = (5, 25, 50, 75, 95)
FEWEST = 5  # occurrences that a word must have to be among those that open an input gate most
OPENING = 5  # how many of those words are listed

# What is summed up over the occurrences of a word: their number, the steps of their lives, how many
# lives are censored; for each of `LATER`, how many occurrences have that many later steps, and what
# they keep after them; and the input gates of all units.
OCCURRENCES, STEPS, CENSORED = range(3)
KNOWN, KEPT = slice(3, 3 + len(LATER)), slice(3 + len(LATER), 3 + 2 * len(LATER))
OPENS = slice(KEPT.stop, None)

LIFE = ["occurrences", "lifetime", "censored"]
LIFE += [name for k in LATER for name in (f"kept_{k}", f"kept_{k}_of")]
UNIT = ["unit", "forget_gate", "input_gate", "half_life", "position_correlation"]
UNIT += [f"opens_{k + 1}" for k in range(OPENING)]


class Tables:
    """Tables over all sentences of a corpus. Their size grows with words and units only.

    For each layer and direction there is a sum of H numbers for each word that occurs.

    Args:
        counts: how often each word of a side (`encoder` or `decoder`) occurs in the training text;
            None for a side where it is not known.
        share: the share of its first norm below which the life of a word ends.
    """

    def __init__(
        self, counts: Mapping[str, Mapping[str, int] | None], share: float = SHARE
    ) -> None:
        self._counts, self._share = counts, share
        self._places: dict[tuple[str, int, str], _Sums] = defaultdict(_Sums)
        self._sentences = 0

    def add(self, sentence: Sentence, tags: Sequence[str] | None = None) -> None:
        """Add a sentence.

        Args:
            sentence: its traces must have no padding.
            tags: the part of speech of each word of `sentence.given`, without `</s>`.

        Raises:
            ValueError: there are more or fewer tags than words.
        """
        self._sentences += 1
        words = sentence.given.without_boundaries()
        if tags is not None and len(tags) != len(words):
            raise ValueError(
                f"sentence {self._sentences} has {len(tags)} tags; give one for each of the "
                f"{len(words)} words that the model reads: {' '.join(words)}"
            )
        tagged = [view.side for view in sentence.given_views]
        for view in sentence.views:
            for trace in view.directions:
                sums = self._places[view.side, view.layer, trace.direction]
                sums.add(trace, view.text, tags if view.side in tagged else None, self._share)

    def write(self, folder: Path) -> None:
        """Write the tables to a folder, which is created.

        They are text with tabs between the columns, and without quotes: to read one with pandas,
        give `sep="\\t", quoting=3, keep_default_na=False`, and for numbers that may be missing
        `na_values=dict.fromkeys([...], "nan")` with `kept_1` to `kept_16` and
        `position_correlation`, because "nan" may be a word. Each row has a `side`, `layer` (from 1)
        and `direction`.

        - `words.tsv`: the words by their occurrences. `kept_4` is the norm of a word's weight four
          steps later, as a share of its norm at the word itself: the mean over the occurrences that
          have four later steps, so that it does not depend on the length of sentences. `kept_4_of`
          is the number of these occurrences. `lifetime` is the mean number of later steps at which
          the norm is still at least a tenth (`share`) of that at the word. `censored` is the share
          of occurrences that still have a tenth at the end of the sentence. Their lives may be
          longer, so the mean is a lower bound.
        - `frequency.tsv`: the same by deciles of the running words without `</s>`, from the most
          frequent to the rarest. Words that are equally frequent are in the same decile, so that
          there may be fewer than ten. Frequencies are those of the training text where they are
          known (with a joined dictionary those of both languages), and unknown words are then the
          rarest. With subwords they are those of this corpus.
        - `tags.tsv`: the same by part of speech. Without tags it has no rows.
        - `units.tsv`: the hidden units, from 0. `forget_gate` and `input_gate` are means over all
          steps; `half_life` is that of `half_lives`, in steps. `position_correlation` is that of
          c_t with the number of steps read; it is near 1 or -1 in units that count. `opens_1` to
          `opens_5` are the words for which the input gate is highest on average, of those that
          occur at least five times.
        - `half_lives.tsv`: quantiles of the half-lives over the units.
        """
        frequency = ["decile", "rarest", "most_frequent", "types", *LIFE]
        quantiles = ["units", *(f"q{q:02}" for q in QUANTILES)]
        tables: dict[str, tuple[list[str], Callable[[str, _Sums], Iterator[Row]]]] = {
            "words": (["word", *LIFE], lambda side, sums: _by_occurrences(sums.words)),
            "frequency": (frequency, lambda side, sums: sums.by_frequency(self._counts.get(side))),
            "tags": (["tag", *LIFE], lambda side, sums: _by_occurrences(sums.tags)),
            "units": (UNIT, lambda side, sums: sums.units()),
            "half_lives": (quantiles, lambda side, sums: sums.quantiles()),
        }
        for name, (header, rows) in tables.items():
            path = folder / f"{name}.tsv"
            with whole(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
                _write(file, ["side", "layer", "direction", *header])
                for (side, layer, direction), sums in self._places.items():
                    for row in rows(side, sums):
                        _write(file, [side, layer, direction, *row])


class _Sums:
    """The sums of one direction of one layer.

    Attributes:
        words: by word, the sums that `OCCURRENCES` and the names after it index.
        tags: the same by part of speech.
        over_steps: sums over all steps by name: `n` of 1, `t`, `tt`, and for each unit `f`, `i`,
            `c`, `cc`, `tc` and `inverse_half_life`, H.
    """

    def __init__(self) -> None:
        self.words: dict[str, Any] = defaultdict(int)  # 0 at first, then arrays
        self.tags: dict[str, Any] = defaultdict(int)
        self.over_steps: dict[str, Any] = defaultdict(int)

    def add(self, trace: Trace, text: Text, tags: Sequence[str] | None, share: float) -> None:
        last = last_tokens(text, trace.reverse)
        life = lifetimes(trace, share, LATER)
        steps, censored = life.steps[last], ~life.complete[last]
        kept = life.kept[:, last, 0].t()
        parts = (torch.ones_like(steps), steps, censored, ~kept.isnan(), kept.nan_to_num())
        rows = torch.cat((*parts, trace.input_gates[last, 0]), 1).double().numpy()
        for word, row in zip(text.words, rows, strict=True):
            self.words[word] += row
        if tags is not None:
            pairs = zip(rows, text.words, strict=True)
            tagged = (row for row, word in pairs if word not in BOUNDARIES)
            for tag, row in zip(tags, tagged, strict=True):
                self.tags[tag] += row
        f, i, c = (
            part[:, 0].double() for part in (trace.forget_gates, trace.input_gates, trace.cells)
        )
        t = torch.arange(1, len(c) + 1, dtype=c.dtype).unsqueeze(1)  # steps read so far
        t = t.flip(0) if trace.reverse else t
        numbers = {"f": f, "i": i, "c": c, "cc": c**2, "t": t, "tt": t**2, "tc": t * c}
        for name, part in numbers.items():
            self.over_steps[name] += part.sum(0).numpy()
        inverse = len(c) / half_lives(trace.forget_gates[:, 0]).double().numpy()
        self.over_steps["n"] += len(c)
        self.over_steps["inverse_half_life"] += inverse

    def by_frequency(self, counts: Mapping[str, int] | None) -> Iterator[Row]:
        """Rows of the deciles; `counts` as in `Tables`."""
        same: dict[int, list[Array]] = defaultdict(list)  # the words of a frequency
        for word, life in self.words.items():
            if word not in SPECIAL:  # <unk> stands for rare words, and is frequent itself
                count = life[OCCURRENCES]
                if counts is not None:  # a parser's dictionary is in lower case
                    count = counts.get(word, counts.get(word.lower(), 0))
                same[int(count)].append(life)
        total = sum(life[OCCURRENCES] for lives in same.values() for life in lives)
        deciles: dict[int, list[int]] = defaultdict(list)
        before = 0.0
        for count in sorted(same, reverse=True):
            size = sum(life[OCCURRENCES] for life in same[count])
            deciles[1 + int(10 * (before + size / 2) / total)].append(count)
            before += size
        for decile, found in deciles.items():
            lives = [life for count in found for life in same[count]]
            yield [decile, min(found), max(found), len(lives), *_life(numpy.sum(lives, 0))]

    def half_lives(self) -> Array:
        """The half-life over all steps: the harmonic mean of those of the sentences, H.

        A half-life is inverse to the mean of ln f_t, so the weights are the numbers of steps.
        """
        with numpy.errstate(divide="ignore"):
            return self.over_steps["n"] / numpy.abs(self.over_steps["inverse_half_life"])

    def units(self) -> Iterator[Row]:
        means = (self.over_steps[gate] / self.over_steps["n"] for gate in ("f", "i"))
        parts = (*means, self.half_lives(), self._position())
        opening = self._opening()
        for unit, numbers in enumerate(zip(*parts, strict=True)):
            yield [unit, *map(float, numbers), *opening[unit]]

    def quantiles(self) -> Iterator[Row]:
        """Quantiles without interpolation, as a half-life may be infinite."""
        halves = self.half_lives()
        found = numpy.percentile(halves, QUANTILES, method="inverted_cdf")
        yield [len(halves), *map(float, found)]

    def _position(self) -> Array:
        """The correlation of c_t with t, H; NaN where one of them is constant."""
        n, t, tt, c, cc, tc = (self.over_steps[name] for name in ("n", "t", "tt", "c", "cc", "tc"))
        spread = n * cc - c**2
        spread[spread < 1e-12 * n * cc] = 0  # rounding
        with numpy.errstate(divide="ignore", invalid="ignore"):
            return (n * tc - t * c) / numpy.sqrt(spread * (n * tt - t**2))

    def _opening(self) -> list[list[str]]:
        """The words for which the input gate of each unit is highest on average."""
        words = sorted(word for word, life in self.words.items() if life[OCCURRENCES] >= FEWEST)
        if not words:
            return [[""] * OPENING] * len(self.over_steps["c"])
        sums = (self.words[word] for word in words)
        means = numpy.stack([one[OPENS] / one[OCCURRENCES] for one in sums])
        best = numpy.argsort(-means, axis=0, kind="stable")[:OPENING].T
        return [[*(words[k] for k in row), *[""] * (OPENING - len(row))] for row in best]


def _by_occurrences(lives: Mapping[str, Array]) -> Iterator[Row]:
    for name in sorted(lives, key=lambda name: (-lives[name][OCCURRENCES], name)):
        yield [name, *_life(lives[name])]


def _life(sums: Array) -> Row:
    """The columns `LIFE` from sums over occurrences."""
    n = sums[OCCURRENCES]
    row: Row = [int(n), float(sums[STEPS] / n), float(sums[CENSORED] / n)]
    for known, kept in zip(sums[KNOWN], sums[KEPT], strict=True):
        row += [float(kept / known) if known else math.nan, int(known)]
    return row


def _write(file: TextIO, row: Sequence[str | int | float]) -> None:
    cells = (f"{x:.5g}" if isinstance(x, float) else str(x) for x in row)
    file.write("\t".join(cells) + "\n")
