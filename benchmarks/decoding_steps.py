"""The time and the state of one decoding step as the target grows, with attention and without.

fairseq's Transformer stores keys and values of all earlier positions for self-attention. A gated
sum stores the state of the last position. The models are untrained. Each step reorders the
hypotheses as beam search does, and feeds random words instead of choosing the best ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import statistics
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import fairseq.options
import report
import torch
from fairseq.data import Dictionary
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask
from layers import wait
from report import positive
from systems import System, add_sizes, read_sizes, transformers
from torch import Tensor

import fairseq_wsum.plugin  # noqa: F401  the models
from fairseq_wsum import CELLS

SOURCE_WORDS = 20
ATTENTION = "self-attention"  # the name of fairseq's Transformer


@dataclass(frozen=True)
class Batch:
    """A batch of beam search."""

    sentences: int
    beam: int

    @classmethod
    def read(cls, text: str) -> Batch:
        """Read `sentences,beam`."""
        try:
            sentences, beam = map(positive, text.split(","))
        except (ValueError, argparse.ArgumentTypeError):
            message = f"{text!r} is not SENTENCES,BEAM, such as 16,4"
            raise argparse.ArgumentTypeError(message) from None
        return cls(sentences, beam)

    @property
    def hypotheses(self) -> int:
        return self.sentences * self.beam

    @property
    def sentence_of_each(self) -> Tensor:
        """The index of the sentence of each hypothesis."""
        return torch.arange(self.sentences).repeat_interleave(self.beam)


BATCHES = (Batch(16, 4), Batch(1, 1))


@dataclass(frozen=True)
class Window:
    """One system at the positions `first` to `last`, counted from 1.

    `seconds` is the median time of a step. `state` is the size of the incremental state after the
    last step, in bytes.
    """

    system: str
    batch: Batch
    first: int
    last: int
    seconds: float
    state: int


@dataclass(frozen=True)
class Words:
    """Random words, and the random choices of beam search."""

    source: Tensor  # sentences x source positions
    target: Tensor  # hypotheses x positions
    continued: Tensor  # for each position the hypotheses that go on, positions x hypotheses

    @classmethod
    def random(cls, batch: Batch, vocabulary: int, positions: int, device: str = "cpu") -> Words:
        """Draw the words of a dictionary of `vocabulary` words, without its special symbols."""
        low = Dictionary().nspecial
        high = low + vocabulary
        first = batch.beam * batch.sentence_of_each
        chosen = first + torch.randint(batch.beam, (positions, batch.hypotheses))
        return cls(
            source=torch.randint(low, high, (batch.sentences, SOURCE_WORDS)).to(device),
            target=torch.randint(low, high, (batch.hypotheses, positions)).to(device),
            continued=chosen.to(device),
        )


class Search:
    """Beam search of one model, in which the choice of words was made before."""

    def __init__(self, model: Any, batch: Batch, words: Words) -> None:
        self.decoder, self.words = model.decoder, words
        self.decoder.set_beam_size(batch.beam)
        with torch.no_grad():
            lengths = torch.full((batch.sentences,), SOURCE_WORDS, device=words.source.device)
            encoded = model.encoder(words.source, lengths)
            order = batch.sentence_of_each.to(lengths.device)
            self.encoder_out = model.encoder.reorder_encoder_out(encoded, order)
        self.state: dict[str, dict[str, Tensor | None]] = {}

    @torch.no_grad()
    def step(self, t: int) -> Tensor:
        """The scores of the words at position t, counted from 0: hypotheses x 1 x vocabulary."""
        if t == 0:
            self.state = {}
        else:
            self.decoder.reorder_incremental_state_scripting(self.state, self.words.continued[t])
        known = self.words.target[:, : t + 1]
        scores: Tensor
        scores, _ = self.decoder(known, encoder_out=self.encoder_out, incremental_state=self.state)
        return scores

    def state_bytes(self) -> int:
        """The size of all tensors of the incremental state."""
        parts = [part for entry in self.state.values() for part in entry.values()]
        return sum(part.nbytes for part in parts if part is not None)


def build(system: System, vocabulary: int, device: str = "cpu") -> BaseFairseqModel:
    """Build an untrained model for decoding, with `vocabulary` words on both sides."""
    dictionary = Dictionary()
    for k in range(vocabulary):
        dictionary.add_symbol(f"w{k}")
    parser = fairseq.options.get_training_parser()
    args = fairseq.options.parse_args_and_arch(parser, ["no-data", *system.options])
    model = TranslationTask(args, dictionary, dictionary).build_model(args)
    model.make_generation_fast_(need_attn=False)  # as fairseq-generate does, also for `eval`
    return model.to(device)


def measure(
    models: Mapping[str, BaseFairseqModel],
    batch: Batch,
    vocabulary: int,
    positions: int,
    window: int,
    rounds: int,
    device: str = "cpu",
) -> list[Window]:
    """Time the steps of all models, which take turns after each window.

    Args:
        models: the models of `build` by their names.
        batch: the sentences and hypotheses.
        vocabulary: words of the models' dictionary.
        positions: the number of steps.
        window: the number of positions that a median is over.
        rounds: how often each model decodes all positions.
        device: where the models are.
    """
    words = Words.random(batch, vocabulary, positions, device)
    searches = {name: Search(model, batch, words) for name, model in models.items()}
    windows = [range(t, min(t + window, positions)) for t in range(0, positions, window)]
    for search in searches.values():  # warm up the caches and the allocator
        for t in windows[0]:
            search.step(t)
    seconds: dict[tuple[str, range], list[float]] = {}
    states: dict[tuple[str, range], int] = {}
    for _ in range(rounds):
        for steps in windows:
            for name, search in searches.items():
                times = seconds.setdefault((name, steps), [])
                for t in steps:
                    wait(device)
                    begin = time.perf_counter()
                    search.step(t)
                    wait(device)
                    times.append(time.perf_counter() - begin)
                states[name, steps] = search.state_bytes()
    medians = {key: statistics.median(times) for key, times in seconds.items()}
    return [
        Window(name, batch, steps[0] + 1, steps[-1] + 1, medians[name, steps], state)
        for (name, steps), state in states.items()
    ]


# The results


def table(results: Sequence[Window]) -> str:
    """A table of the windows 1, 2, 4, 8 and so on of each batch, and of its last window."""
    rows = []
    for _, one_batch in groupby(results, key=lambda one: one.batch):
        windows = [list(found) for _, found in groupby(one_batch, key=lambda one: one.first)]
        for number, found in enumerate(windows, start=1):
            if number & (number - 1) == 0 or number == len(windows):
                rows.append(_row(found))
    return report.table(rows)


def _row(found: Sequence[Window]) -> dict[str, str]:
    """The row of one window, with all systems; the first of them is the peer."""
    peer, *ours = found
    row = {"sentences": str(peer.batch.sentences), "beam": str(peer.batch.beam)}
    row["positions"] = f"{peer.first} to {peer.last}"
    row |= {f"{one.system}, ms": f"{1000 * one.seconds:.2f}" for one in found}
    row |= {f"{one.system}, times as fast": f"{peer.seconds / one.seconds:.2f}" for one in ours}
    return row | {f"{one.system}, MB": f"{one.state / 1e6:.3f}" for one in found}


def draw(path: Path, results: Sequence[Window], title: str) -> None:
    """Draw the time of a step and the size of the state over the position, a row per batch."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # fairseq's level is INFO
    import matplotlib
    from matplotlib.figure import Figure

    batches = list(dict.fromkeys(one.batch for one in results))
    systems = list(dict.fromkeys(one.system for one in results))
    shades = matplotlib.colormaps["magma"]
    colours = {name: shades(0.2 + 0.55 * k / (len(systems) - 1)) for k, name in enumerate(systems)}
    figure = Figure(figsize=(9, 3.2 * len(batches) + 0.4), layout="constrained")
    for row, batch in zip(figure.subplots(len(batches), 2, squeeze=False), batches, strict=True):
        for name in systems:
            found = [one for one in results if (one.system, one.batch) == (name, batch)]
            style: dict[str, Any] = dict(label=name, color=colours[name])
            middle = [(one.first + one.last) / 2 for one in found]
            row[0].plot(middle, [1000 * one.seconds for one in found], **style)
            row[1].plot([one.last for one in found], [one.state / 1e6 for one in found], **style)
        for axis, what in zip(row, ("time of a step, ms", "state, MB"), strict=True):
            axis.set(xlabel="position in the target", ylabel=what, xlim=(0, None), ylim=(0, None))
            axis.set_title(_count(batch.hypotheses, "hypothesis", "hypotheses"), fontsize="medium")
            axis.spines[["top", "right"]].set_visible(False)
        row[0].legend(fontsize="small", frameon=False)
    figure.suptitle(textwrap.fill(title, 110), fontsize="small")
    report.save_figure(path, figure)


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


# The command line


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, with `arguments` or those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    help = "cells in place of self-attention (default no-srnn-hidden)"
    add("--cells", nargs="+", choices=CELLS, default=["no-srnn-hidden"], metavar="NAME", help=help)
    add_sizes(parser, "transformer")
    add("--vocabulary", type=positive, default=8000, help="words on each side (default 8000)")
    add("--positions", type=positive, default=1000, help="target words (default 1000)")
    usual = " ".join(f"{batch.sentences},{batch.beam}" for batch in BATCHES)
    help = f"numbers of sentences, with their beam sizes (default: {usual})"
    add("--batches", nargs="+", type=Batch.read, default=BATCHES, metavar="N,BEAM", help=help)
    add("--window", type=positive, default=20, help="positions of each median (default 20)")
    add("--rounds", type=positive, default=3, help="timings of each step (default 3)")
    add("--device", default="cpu", help="cpu (default) or cuda")
    add("--json", type=report.output_file, metavar="FILE", help="also write all results to FILE")
    help = "draw time and state over the position (.svg, .png, .pdf)"
    add("--picture", type=report.output_file, metavar="FILE", help=help)
    args = parser.parse_args(arguments)
    report.check_device(args.device)
    if args.picture:
        report.check_can_draw("--picture", args.picture)
    sizes = read_sizes(args, "transformer")
    title = f"{sizes.describe(sides=1)}, {args.vocabulary} words, source of {SOURCE_WORDS} words, "
    title += f"medians of {args.rounds} rounds and {args.window} positions; "
    title += report.machine(args.device)
    print(title, flush=True)
    peer, *ours = transformers(args.cells, sizes)
    models = {ATTENTION: build(peer, args.vocabulary, args.device)}
    models |= {system.name: build(system, args.vocabulary, args.device) for system in ours}
    steps = (args.vocabulary, args.positions, args.window, args.rounds, args.device)
    results = [one for batch in args.batches for one in measure(models, batch, *steps)]
    print(table(results))
    if args.json:
        as_dicts = [dataclasses.asdict(one) for one in results]
        report.write_json(args.json, {"title": title, "results": as_dicts})
    if args.picture:
        draw(args.picture, results, title)


if __name__ == "__main__":
    report.end_with_errors(main)
