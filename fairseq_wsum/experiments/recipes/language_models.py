"""Recipes for language models."""

from __future__ import annotations

import argparse

from ...argument_types import positive
from ...cells import CELLS
from ..program import UserError, command_line
from .epochs import InEpochs
from .recipe import Recipe


class LanguageModel(Recipe):
    """A recipe for a language model."""

    best = "checkpoint_best.pt"  # the name of the checkpoint to score

    def score(self) -> None:
        """Print the perplexity of the validation and the test set."""
        from .. import perplexity

        averaged = self.average(getattr(self.args, "average", 0))
        model = self.run if averaged else self.run / self.best
        options = ["--checkpoint", str(model), *averaged, "--task", self.model["task"]]
        if self.args.peer:
            options += command_line(self.settings["peer"].get("score", {}))
        out = ["--out", str(self.run / "perplexity.json")]
        perplexity.main([str(self.data), *options, *out, *self.score_options()])


class LastEpoch(InEpochs, LanguageModel):
    """A recipe for a language model whose last epoch is scored."""

    best = "checkpoint_last.pt"

    def choose(self) -> None:
        """A text of one's own is one shard, as an epoch reads all of it."""
        super().choose()
        if self.args.own_corpus:
            self.settings["prepare"] = {"shards": 1}

    def prepare(self) -> None:
        if self.args.own_corpus and self.prepared.shards > 1:
            raise UserError("--shards: this recipe reads all training files in each epoch")
        super().prepare()


class AWD(LastEpoch):
    """`awd`, on two corpora."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        super().add_options(parser)
        help = "average the checkpoints of the last N epochs (default 5); 10 are kept"
        parser.add_argument("--average", type=positive, default=5, metavar="N", help=help)

    def choose(self) -> None:
        super().choose()
        training = self.settings["training"]
        training["force-anneal"] = training["max-epoch"] * 3 // 5 + 1

    def command(self) -> list[str]:
        if CELLS[self.args.cell].has_recurrent_matrix:
            self.model["weight-dropout"] = self.settings["weight-dropout"]
        return super().command()


class GBW(LanguageModel):
    """`gbw`: the training text is in parts, of which fairseq reads one per epoch."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        help = "go through the corpus N times (default 5)"
        parser.add_argument("--passes", type=positive, default=5, metavar="N", help=help)

    def text(self) -> str:
        if self.data.is_dir():
            shards = sorted(path for path in self.data.glob("shard-*") if path.is_dir())
        else:  # a dry run, as if the data were there
            parts = range(2, (self.prepared.shards or 99) + 1)
            shards = [self.data / f"shard-{k:03d}" for k in parts]
        return ":".join(map(str, [self.data, *shards]))

    def command(self) -> list[str]:
        self.training["max-epoch"] = self.args.passes * len(self.text().split(":"))
        return super().command()
