"""The models that the benchmarks compare: fairseq's own, and this package's of the same sizes."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from report import positive

from fairseq_wsum import CELLS

PEER = "fairseq's own"
FAST_PEER = "fairseq's own with the search of this package"
ONEDNN_PEER = "fairseq's own through oneDNN"
CRITERION = ["--criterion", "wsum_cross_entropy"]


@dataclass(frozen=True)
class System:
    """A model: its name in the table and its options."""

    name: str
    options: list[str] = field(default_factory=list)
    onednn: bool = False  # compute all of its products with oneDNN
    own_search: bool = False  # decode with fairseq's own beam search
    decoding: tuple[str, ...] = ()  # further options of fairseq-generate
    compute_type: str = ""  # translate with CTranslate2, with fairseq's own model


# Sizes


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model. Embeddings and layers have the same number of units.

    Only Transformers have `feed_forward` layers and attention `heads`.
    """

    layers: int
    units: int
    dropout: float = 0.3
    feed_forward: int | None = None
    heads: int | None = None

    def describe(self, sides: int) -> str:
        """The sizes in words, for a model of two sides, encoder and decoder, or of one."""
        text = f"{'+'.join([str(self.layers)] * sides)} layers of {self.units}"
        if self.heads is not None:
            text += f", feed-forward layers of {self.feed_forward}, {self.heads} heads"
        return text


SIZES = {
    "lstm": Sizes(layers=2, units=500),
    "lstm_lm": Sizes(layers=2, units=200, dropout=0.0),
    "transformer": Sizes(layers=4, units=128, feed_forward=256, heads=4),
}
_OPTIONS = {
    "layers": "layers on each side",
    "units": "layer size",
    "feed_forward": "size of the feed-forward layers",
    "heads": "attention heads",
}


def add_sizes(parser: argparse.ArgumentParser, *models: str) -> None:
    """Add the options for the sizes of these models, which are keys of `SIZES`."""
    for size, what in _OPTIONS.items():
        defaults = {model: getattr(SIZES[model], size) for model in models}
        usual = ", ".join(f"{n} for {model}" for model, n in defaults.items() if n is not None)
        if usual:
            help = f"{what} (default: {usual})"
            parser.add_argument(f"--{size.replace('_', '-')}", type=positive, help=help)


def read_sizes(args: argparse.Namespace, model: str) -> Sizes:
    """The sizes of a model from the options of `add_sizes`.

    Raises:
        ValueError: an option is not for this model, or two options contradict each other.
    """
    options = {size: getattr(args, size, None) for size in _OPTIONS}
    given: dict[str, Any] = {size: n for size, n in options.items() if n is not None}
    for size in given:
        if getattr(SIZES[model], size) is None:
            raise ValueError(f"--{size.replace('_', '-')} is for --model transformer")
    sizes = dataclasses.replace(SIZES[model], **given)
    if sizes.heads is not None and sizes.units % sizes.heads:
        raise ValueError(f"--units {sizes.units} is not a multiple of --heads {sizes.heads}")
    return sizes


# Models


def lstms(cells: Sequence[str], sizes: Sizes, onednn_peer: bool = False) -> list[System]:
    """The peers, then each ablation, with input feeding if its cell reads h_{t-1}.

    With input feeding every step waits for the last, as in fairseq's LSTM. The cells without
    h_{t-1} exist to avoid that, so they are measured without input feeding. The peers train with
    fairseq's criterion and PyTorch's dropout, which they also apply to the encoder's output.
    """
    common = ["--dropout", str(sizes.dropout), "--encoder-dropout-in", "0"]
    common += ["--decoder-dropout-in", "0"]
    for side in ("encoder", "decoder"):
        common += [f"--{side}-layers", str(sizes.layers), f"--{side}-embed-dim", str(sizes.units)]
        common += [f"--{side}-hidden-size", str(sizes.units)]
    common += ["--decoder-out-embed-dim", str(sizes.units)]
    found = _peers(["--arch", "lstm", *common], onednn_peer)
    for name in cells:
        feeds = CELLS[name].has_recurrent_matrix
        options = ["--arch", "wsum_lstm", "--cell", name, *common, *CRITERION]
        options += ["--decoder-input-feeding", str(feeds)]
        found.append(System(f"{name}, input feeding {'on' if feeds else 'off'}", options))
    return found


def transformers(cells: Sequence[str], sizes: Sizes, onednn_peer: bool = False) -> list[System]:
    """The peers, then each cell in place of self-attention.

    All of them train with the same criterion. They differ in self-attention and in the kernel of
    their dropout.
    """
    common = [*CRITERION, "--dropout", str(sizes.dropout)]
    for side in ("encoder", "decoder"):
        common += [f"--{side}-layers", str(sizes.layers), f"--{side}-embed-dim", str(sizes.units)]
        common += [f"--{side}-ffn-embed-dim", str(sizes.feed_forward)]
        common += [f"--{side}-attention-heads", str(sizes.heads)]
    ours = ["--arch", "wsum_transformer", *common]
    return [
        *_peers(["--arch", "transformer", *common], onednn_peer),
        *(System(name, [*ours, "--cell", name]) for name in cells),
    ]


def language_models(
    cells: Sequence[str], sizes: Sizes, steps: int, onednn_peer: bool = False
) -> list[System]:
    """The peers, which carry no state, then each ablation, which does.

    The peers train with fairseq's criterion.

    Args:
        steps: tokens of a sample.
    """
    common = ["--dropout", str(sizes.dropout), "--decoder-layers", str(sizes.layers)]
    common += ["--tokens-per-sample", str(steps), "--sample-break-mode", "none"]
    for part in ("embed-dim", "hidden-size", "out-embed-dim"):
        common += [f"--decoder-{part}", str(sizes.units)]
    peer = ["--task", "language_modeling", "--arch", "lstm_lm", *common]
    task = ["--task", "wsum_language_modeling", "--arch", "wsum_lstm_lm", *common]
    return [
        *_peers(peer, onednn_peer),
        *(System(name, [*task, "--cell", name, *CRITERION]) for name in cells),
    ]


def _peers(options: list[str], onednn_peer: bool) -> list[System]:
    peers = [System(PEER, options, own_search=True)]
    if onednn_peer:
        peers.append(System(ONEDNN_PEER, options, onednn=True, own_search=True))
    return peers


CTRANSLATE2 = [System(f"CTranslate2, {kind}", compute_type=kind) for kind in ("float32", "int8")]
TRANSLATION = {"lstm": lstms, "transformer": transformers}  # the values of --model
