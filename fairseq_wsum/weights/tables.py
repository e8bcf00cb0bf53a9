"""`Tables`: how long words stay in memory and what the hidden units do, over a corpus.

A step is a token. The life of a token ends when its norm has fallen below a share of its first one,
as in `lifetimes`. The life of a word is that of its last token in the order of the direction: the
one with which the word is complete.

Shapes: T time steps, W words of a sentence, H hidden units.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..files import whole_at_end
from .sentences import BOUNDARIES, Sentence, Text, last_tokens
from .trace import Trace
from .weighted_sum import SHARE, half_lives, lifetimes

Array = NDArray[numpy.floating]
Row = list[str | int | float]

LATER = (1, 2, 4, 8, 16)  # numbers of steps after which the remaining norm is measured
QUANTILES = (5, 25, 50, 75, 95)
FEWEST = 5  # occurrences that a word must have to be among those that open an input gate most
OPENING = 5  # how many of those words are listed

# What is summed up over the occurrences of a word: their number, the steps of their lives, how many
# lives are censored; and for each of `LATER`, how many occurrences have that many later steps, and
# what they keep after them.
OCCURRENCES, STEPS, CENSORED = range(3)
KNOWN, KEPT = slice(3, 3 + len(LATER)), slice(3 + len(LATER), None)

PLACE = ["side", "layer", "direction"]
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
        self,
        counts: Callable[[str], Mapping[str, int] | None] | None = None,
        share: float = SHARE,
    ) -> None:
        self._counts = counts or (lambda side: None)
        self._share = share
        self._places: dict[tuple[str, int, str], _Sums] = defaultdict(_Sums)
        self._sentences = 0

    def add(self, sentence: Sentence, tags: Sequence[str] | None = None) -> None:
        """Add a sentence.

        Args:
            sentence: its traces must be on the CPU, have no padding and need no gradient.
            tags: the part of speech of each word, without `</s>`. The words are those of the source
                sentence, or of the only sentence in a language model.

        Raises:
            ValueError: there are more or fewer tags than words.
        """
        self._sentences += 1
        tagged = "decoder" if sentence.source is None else "encoder"
        if tags is not None:
            text = sentence.target if sentence.source is None else sentence.source
            words = [word for word in text.words if word not in BOUNDARIES]
            if len(tags) != len(words):
                raise ValueError(
                    f"--tags, line {self._sentences}: give one tag for each of the {len(words)} "
                    f"words instead of {len(tags)}: {' '.join(words)}"
                )
        for view in sentence.views:
            for trace in view.directions:
                sums = self._places[view.side, view.layer, trace.direction]
                sums.add(trace, view.text, tags if view.side == tagged else None, self._share)

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
        tables = {
            "words": ([*PLACE, "word", *LIFE], _Sums.words),
            "tags": ([*PLACE, "tag", *LIFE], _Sums.by_tag),
            "units": ([*PLACE, *UNIT], _Sums.units),
            "half_lives": ([*PLACE, "units", *(f"q{q:02}" for q in QUANTILES)], _Sums.quantiles),
        }
        for name, (header, rows) in tables.items():
            every = ([*place, *row] for place, sums in self._places.items() for row in rows(sums))
            _write(folder / f"{name}.tsv", header, every)
        deciles = (
            [*place, *row]
            for place, sums in self._places.items()
            for row in sums.by_frequency(self._counts(place[0]))
        )
        header = [*PLACE, "decile", "rarest", "most_frequent", "types", *LIFE]
        _write(folder / "frequency.tsv", header, deciles)


class _Sums:
    """The sums of one direction of one layer.

    Attributes:
        lives: by word, the sums that `OCCURRENCES` and the names after it index.
        tags: the same by part of speech.
        opens: by word, the sum of the input gates, H.
        over_steps: sums over all steps by name: `n` of 1, `t`, `tt`, and for each unit `f`, `i`,
            `c`, `cc`, `tc` and `inverse_half_life`, H.
    """

    def __init__(self) -> None:
        self.lives: dict[str, Array] = {}
        self.tags: dict[str, Array] = {}
        self.opens: dict[str, Array] = {}
        self.over_steps: dict[str, Any] = {}

    def add(self, trace: Trace, text: Text, tags: Sequence[str] | None, share: float) -> None:
        last = last_tokens(text, trace.reverse)
        lives = _lives(trace, last, share)
        opens = trace.input_gates[last, 0].double().numpy()
        for word, life, gate in zip(text.words, lives, opens, strict=True):
            _add(self.lives, word, life)
            _add(self.opens, word, gate)
        if tags is not None:
            pairs = zip(lives, text.words, strict=True)
            tagged = (life for life, word in pairs if word not in BOUNDARIES)
            for tag, life in zip(tags, tagged, strict=True):
                _add(self.tags, tag, life)
        f, i, c = (
            part[:, 0].double() for part in (trace.forget_gates, trace.input_gates, trace.cells)
        )
        t = torch.arange(1, len(c) + 1, dtype=c.dtype).unsqueeze(1)  # steps read so far
        t = t.flip(0) if trace.reverse else t
        numbers = {"f": f, "i": i, "c": c, "cc": c**2, "t": t, "tt": t**2, "tc": t * c}
        sums = {name: part.sum(0).numpy() for name, part in numbers.items()}
        inverse = len(c) / half_lives(trace.forget_gates[:, 0]).double().numpy()
        for name, one in (sums | {"n": len(c), "inverse_half_life": inverse}).items():
            self.over_steps[name] = self.over_steps.get(name, 0) + one

    def words(self) -> Iterator[Row]:
        return _by_occurrences(self.lives)

    def by_tag(self) -> Iterator[Row]:
        return _by_occurrences(self.tags)

    def by_frequency(self, counts: Mapping[str, int] | None) -> Iterator[Row]:
        """Rows of the deciles; `counts` as in `Tables`."""
        same: dict[int, list[Array]] = defaultdict(list)  # the words of a frequency
        for word, life in self.lives.items():
            if word not in BOUNDARIES:
                count = life[OCCURRENCES] if counts is None else counts.get(word, 0)
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
            halves: Array = self.over_steps["n"] / numpy.abs(self.over_steps["inverse_half_life"])
        return halves

    def units(self) -> Iterator[Row]:
        means = (self.over_steps[gate] / self.over_steps["n"] for gate in ("f", "i"))
        parts = (*means, self.half_lives(), self._position())
        opening = self._opening()
        for unit, numbers in enumerate(zip(*parts, strict=True)):
            yield [unit, *map(float, numbers), *opening[unit]]

    def quantiles(self) -> Iterator[Row]:
        """Quantiles without interpolation, as a half-life may be infinite."""
        found = numpy.sort(self.half_lives())
        ranks = (math.ceil(len(found) * q / 100) - 1 for q in QUANTILES)
        yield [len(found), *(float(found[rank]) for rank in ranks)]

    def _position(self) -> Array:
        """The correlation of c_t with t, H; NaN where one of them is constant."""
        n, t, tt, c, cc, tc = (self.over_steps[name] for name in ("n", "t", "tt", "c", "cc", "tc"))
        spread = n * cc - c**2
        spread[spread < 1e-12 * n * cc] = 0  # rounding
        with numpy.errstate(divide="ignore", invalid="ignore"):
            correlation: Array = (n * tc - t * c) / numpy.sqrt(spread * (n * tt - t**2))
        return correlation

    def _opening(self) -> list[list[str]]:
        """The words for which the input gate of each unit is highest on average."""
        words = sorted(word for word, life in self.lives.items() if life[OCCURRENCES] >= FEWEST)
        if not words:
            return [[""] * OPENING] * len(self.over_steps["c"])
        means = numpy.stack([self.opens[word] / self.lives[word][OCCURRENCES] for word in words])
        best = numpy.argsort(-means, axis=0, kind="stable")[:OPENING].T
        return [[*(words[k] for k in row), *[""] * (OPENING - len(row))] for row in best]


def _lives(trace: Trace, last: Tensor, share: float) -> Array:
    """The numbers of `_Sums.lives` for the words that are complete at the steps `last`, W x 13."""
    life = lifetimes(trace, share, LATER)
    steps, censored = life.steps[last], ~life.complete[last]
    kept = life.kept[:, last, 0].t()
    numbers = (torch.ones_like(steps), steps, censored, ~kept.isnan(), kept.nan_to_num())
    return torch.cat(numbers, 1).double().numpy()


def _by_occurrences(lives: Mapping[str, Array]) -> Iterator[Row]:
    for name in sorted(lives, key=lambda name: (-lives[name][OCCURRENCES], name)):
        yield [name, *_life(lives[name])]


def _life(sums: Array) -> Row:
    """The columns `LIFE` from the numbers of `_Sums.lives`."""
    n = sums[OCCURRENCES]
    row: Row = [int(n), float(sums[STEPS] / n), float(sums[CENSORED] / n)]
    for known, kept in zip(sums[KNOWN], sums[KEPT], strict=True):
        row += [float(kept / known) if known else math.nan, int(known)]
    return row


def _add(sums: dict[str, Array], key: str, numbers: Array) -> None:
    if key in sums:
        sums[key] += numbers
    else:
        sums[key] = numbers.copy()


def _write(path: Path, header: Sequence[str], rows: Iterable[Row]) -> None:
    with whole_at_end(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for row in (header, *rows):
            cells = (f"{x:.5g}" if isinstance(x, float) else str(x) for x in row)
            file.write("\t".join(cells) + "\n")
