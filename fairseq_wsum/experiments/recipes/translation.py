"""Recipes for translation."""

from __future__ import annotations

import argparse
import json
import tempfile
from importlib import import_module
from pathlib import Path

from ...argument_types import positive
from ..program import UserError, folder
from ..text_files import lines_of, write_lines
from .recipe import ROOT, Recipe

CORPUS = ROOT / "examples/quickstart/corpus"
SENTENCES = 8000  # of it for training


class Translation(Recipe):
    """A recipe whose length penalty is chosen on the validation set."""

    def choose(self) -> None:
        import_module("..score", __package__)  # a missing package is named before the training

    def score(self) -> None:
        """Average the last checkpoints, choose the length penalty, and score the test set."""
        model = ["--checkpoints", str(self.run), *self.average(10)]
        valid = self.score_set("valid", *model, "--lenpen", "0.6,1.0,1.4,1.8")
        lenpen = json.loads((valid / "scores.json").read_text())["lenpen"]
        self.score_set("test", *model, "--lenpen", str(lenpen))

    def score_last(self, *options: str) -> None:
        """Score the last checkpoint on both sets."""
        model = ["--checkpoints", str(self.run / "checkpoint_last.pt")]
        for subset in ("valid", "test"):
            self.score_set(subset, *model, *options)

    def score_set(self, subset: str, *options: str) -> Path:
        """Score a set, and return the folder of the scores."""
        out = str(self.run / f"score-{subset}")
        given = [*options, "--subset", subset, "--out", out, *self.score_options()]
        from .. import score

        score.main([str(self.data), *given])
        return Path(out)


class OpenNMT(Translation):
    """`opennmt`: no length penalty, and with attention over words unknown ones are replaced."""

    def score(self) -> None:
        # fairseq's LSTM moves the padding to the right, and with it its attention weights, so that
        # --replace-unk would take the wrong word in a batch with padding.
        options = ["--lenpen", "0", "--batch-size", "1" if self.args.peer else "64"]
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--decoder-attention", default="general")
        attention = parser.parse_known_args(self.options)[0].decoder_attention.lower()
        without = attention in ("none", "0", "no", "off", "false") or self.prepared.units == "bpe"
        self.score_last(*options, *([] if without else ["--replace-unk"]))


class Transformer(Translation):
    """A Transformer: may train on the translations of other models in every second epoch."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        help = "in every second epoch, train on the translations in DIR, made by scripts/distil.sh"
        parser.add_argument("--distilled", type=folder, metavar="DIR", help=help)

    def default_run(self) -> str:
        return f"{self.cell}-distilled" if self.args.distilled else self.cell

    def text(self) -> str:
        if self.args.distilled is None:
            return super().text()
        # fairseq reads the folders in turn, one per epoch
        return f"{self.data}:{self.args.distilled}"


class Captions(Translation):
    """`captions`: the quickstart's corpus."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        help = f"number of training sentences (default: all {SENTENCES})"
        parser.add_argument("--sentences", type=positive, default=SENTENCES, metavar="N", help=help)

    def choose(self) -> None:
        super().choose()
        if self.args.data or self.args.own_corpus:
            raise UserError("--data: this recipe has its own corpus")
        self.args.data = str(CORPUS)
        if self.args.sentences > SENTENCES:
            raise UserError(f"--sentences {self.args.sentences}: the corpus has {SENTENCES}")

    def prepare(self) -> None:
        """Prepare the captions under the names that prepare.sh translation reads."""
        with tempfile.TemporaryDirectory() as text:
            for path in CORPUS.iterdir():
                size = self.args.sentences if path.stem == "train" else None
                name = f"{path.stem}.lc.norm.tok{path.suffix}"
                write_lines(Path(text, name), lines_of(path)[:size])
            self.prepared.data = Path(text)
            super().prepare()

    def score(self) -> None:
        self.score_last()
