"""The time and the state of one decoding step as the target grows, with attention and without.

fairseq's Transformer stores keys and values of all earlier positions for self-attention. A gated
sum stores the state of the last position. The models are untrained. Each step reorders the
hypotheses as beam search does, and feeds random words instead of choosing the best ones.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import fairseq.options
import torch
from fairseq.data import Dictionary
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask
from measure import time_of
from systems import System, transformers
from torch import Tensor

import fairseq_wsum.plugin  # noqa: F401  the models
from fairseq_wsum import CELLS
from fairseq_wsum.argument_types import positive
from fairseq_wsum.cli import table
from fairseq_wsum.machine import machine

SOURCE_WORDS = 20
ATTENTION = "self-attention"  # the name of fairseq's Transformer


class Batch(NamedTuple):
    """A batch of beam search."""

    sentences: int
    beam: int

    @classmethod
    def read(cls, text: str) -> Batch:
        """Read `sentences,beam`."""
        return cls(*map(positive, text.split(",")))

    @property
    def hypotheses(self) -> int:
        return self.sentences * self.beam

    @property
    def sentence_of_each(self) -> Tensor:
        """The index of the sentence of each hypothesis."""
        return torch.arange(self.sentences).repeat_interleave(self.beam)


class Window(NamedTuple):
    """All systems at the positions `first` to `last`, counted from 1.

    `seconds` is the median time of a step. `state` is the size of the incremental state after the
    last step, in bytes.
    """

    batch: Batch
    first: int
    last: int
    seconds: dict[str, float]
    state: dict[str, int]

    def row(self) -> dict[str, str]:
        """The row of a table; the first system is the peer."""
        (peer, slowest), *ours = self.seconds.items()
        row = {"sentences": str(self.batch.sentences), "beam": str(self.batch.beam)}
        row |= {"positions": f"{self.first} to {self.last}", f"{peer}, ms": f"{1e3 * slowest:.2f}"}
        row |= {f"{name}, ms": f"{1e3 * seconds:.2f}" for name, seconds in ours}
        row |= {f"{name}, times as fast": f"{slowest / seconds:.2f}" for name, seconds in ours}
        return row | {f"{name}, MB": f"{size / 1e6:.3f}" for name, size in self.state.items()}


class Words(NamedTuple):
    """Random words, and the random choices of beam search."""

    source: Tensor  # sentences x source positions
    target: Tensor  # hypotheses x positions
    continued: Tensor  # for each position the hypotheses that go on, positions x hypotheses

    @classmethod
    def random(cls, batch: Batch, vocabulary: int, positions: int, device: str = "cpu") -> Words:
        """Draw the words of a dictionary of `vocabulary` words, without its special symbols."""
        low = Dictionary().nspecial
        words = partial(torch.randint, low, low + vocabulary)
        first = batch.beam * batch.sentence_of_each
        chosen = first + torch.randint(batch.beam, (positions, batch.hypotheses))
        return cls(
            source=words((batch.sentences, SOURCE_WORDS)).to(device),
            target=words((batch.hypotheses, positions)).to(device),
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
    """Time the steps of all models, which take turns after each `window` of positions."""
    words = Words.random(batch, vocabulary, positions, device)
    searches = {name: Search(model, batch, words) for name, model in models.items()}
    windows = [range(t, min(t + window, positions)) for t in range(0, positions, window)]
    for search in searches.values():  # warm up the caches and the allocator
        for t in windows[0]:
            search.step(t)
    seconds: dict[range, dict[str, list[float]]] = {
        steps: {name: [] for name in searches} for steps in windows
    }
    states: dict[range, dict[str, int]] = {steps: {} for steps in windows}
    for _ in range(rounds):
        for steps in windows:
            for name, search in searches.items():
                seconds[steps][name] += [time_of(partial(search.step, t), device) for t in steps]
                states[steps][name] = search.state_bytes()
    return [
        Window(
            batch,
            steps[0] + 1,
            steps[-1] + 1,
            {name: statistics.median(times) for name, times in seconds[steps].items()},
            states[steps],
        )
        for steps in windows
    ]


def draw(path: Path, found: Mapping[Batch, Sequence[Window]], title: str) -> None:
    """Draw the time of a step and the size of the state over the position, a row per batch."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # fairseq's level is INFO
    import matplotlib
    from matplotlib.figure import Figure

    from fairseq_wsum.weights.picture import DPI, METADATA, SETTINGS

    figure = Figure(figsize=(9, 3.2 * len(found) + 0.4), layout="constrained")
    axes = figure.subplots(len(found), 2, squeeze=False)
    for row, (batch, windows) in zip(axes, found.items(), strict=True):
        for k, name in enumerate(windows[0].seconds):
            shade = 0.2 + 0.55 * k / (len(windows[0].seconds) - 1)
            style: dict[str, Any] = dict(label=name, color=matplotlib.colormaps["magma"](shade))
            middle = [(one.first + one.last) / 2 for one in windows]
            row[0].plot(middle, [1000 * one.seconds[name] for one in windows], **style)
            row[1].plot(
                [one.last for one in windows], [w.state[name] / 1e6 for w in windows], **style
            )
        for axis, what in zip(row, ("time of a step, ms", "state, MB"), strict=True):
            axis.set(xlabel="position in the target", ylabel=what, xlim=(0, None), ylim=(0, None))
            hypotheses = (
                "1 hypothesis" if batch.hypotheses == 1 else f"{batch.hypotheses} hypotheses"
            )
            axis.set_title(hypotheses, fontsize="medium")
            axis.spines[["top", "right"]].set_visible(False)
        row[0].legend(fontsize="small", frameon=False)
    figure.suptitle(textwrap.fill(title, 110), fontsize="small")
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(path, dpi=DPI, metadata=METADATA[path.suffix])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, with `arguments` or those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    help = "cells in place of self-attention (default no-srnn-hidden)"
    add("--cells", nargs="+", choices=CELLS, default=["no-srnn-hidden"], metavar="NAME", help=help)
    add("--vocabulary", type=positive, default=8000, help="words on each side (default 8000)")
    add("--positions", type=positive, default=1000, help="target words (default 1000)")
    batches = [Batch(16, 4), Batch(1, 1)]
    help = "numbers of sentences, with their beam sizes (default: 16,4 1,1)"
    add("--batches", nargs="+", type=Batch.read, default=batches, metavar="N,BEAM", help=help)
    add("--window", type=positive, default=20, help="positions of each median (default 20)")
    add("--rounds", type=positive, default=3, help="timings of each step (default 3)")
    add("--device", default="cpu", help="cpu (default) or cuda")
    help = "draw time and state over the position (.svg, .png, .pdf; needs matplotlib)"
    add("--picture", type=Path, metavar="FILE", help=help)
    args = parser.parse_args(arguments)
    title = f"{args.vocabulary} words, source of {SOURCE_WORDS} words, "
    title += f"medians of {args.rounds} rounds and {args.window} positions; {machine(args.device)}"
    print(title, flush=True)
    peer, *ours = transformers(args.cells)
    models = {ATTENTION: build(peer, args.vocabulary, args.device)}
    models |= {system.name: build(system, args.vocabulary, args.device) for system in ours}
    steps = (args.vocabulary, args.positions, args.window, args.rounds, args.device)
    found = {batch: measure(models, batch, *steps) for batch in args.batches}
    print(table([window.row() for windows in found.values() for window in windows]))
    if args.picture:
        draw(args.picture, found, title)


if __name__ == "__main__":
    main()
