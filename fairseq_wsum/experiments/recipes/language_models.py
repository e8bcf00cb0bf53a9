"""Recipes for language models."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...argument_types import positive
from ...cells import CELLS
from ..recipe import Recipe


class LanguageModel(Recipe):
    """A recipe for a language model."""

    best = "checkpoint_best.pt"  # the name of the checkpoint to score

    def score(self) -> None:
        """Print the perplexity of the validation and the test set."""
        from .. import perplexity

        averaged = self.average(getattr(self.args, "average", 0))
        model = self.run if averaged else self.run / self.best
        options = ["--checkpoint", str(model), *averaged, "--task", self.model()["task"]]
        out = ["--out", self.results("perplexity", ".json")]
        perplexity.main([str(self.data), *options, *out, *self.score_options()])


class InEpochs(LanguageModel):
    """A recipe in variants, with a number of epochs and a seed, which name its folder, too."""

    best = "checkpoint_last.pt"

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        add, names = parser.add_argument, list(self.settings["variants"])
        help = f"{', '.join(names)} (default {names[0]})"
        option = self.settings["variant"]
        add(f"--{option}", dest="variant", choices=names, default=names[0], help=help)
        help = "stop after N epochs"
        add("--epochs", "--max-epoch", type=positive, metavar="N", help=help)
        add("--seed", type=positive, default=1, metavar="N", help="random seed (default 1)")

    @property
    def variant(self) -> dict[str, Any]:
        """What the variant has of its own: options of the model, of the peer and of the training.

        Its results have a folder of its name.
        """
        found: dict[str, Any] = self.settings["variants"][self.args.variant]
        return found

    def model(self) -> dict[str, Any]:
        return {**super().model(), **self.variant.get("peer" if self.is_peer else "model", {})}

    def training(self) -> dict[str, Any]:
        training = {**super().training(), **self.variant["training"], "seed": self.args.seed}
        return {**training, "max-epoch": self.args.epochs or training["max-epoch"]}

    def default_run(self) -> Path:
        name = f"epochs-{self.training()['max-epoch']}-seed-{self.args.seed}"
        return self.out / self.args.variant / self.cell / name


class PTB(InEpochs):
    """`ptb`, in three sizes."""

    def score_options(self) -> list[str]:
        # By default it accepts only samples as long as in training; eval-lm's have 1,024 tokens.
        longer = ["--model-overrides", "{'max_target_positions': 1024}"] if self.is_peer else []
        return [*super().score_options(), *longer]


class AWD(InEpochs):
    """`awd`, on two corpora."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        super().add_options(parser)
        help = "average the checkpoints of the last N epochs (default 5); 10 are kept"
        parser.add_argument("--average", type=positive, default=5, metavar="N", help=help)

    @property
    def corpus(self) -> str:
        """The name of the corpus."""
        name: str = self.args.variant
        return name

    @property
    def data(self) -> Path:
        """The prepared data."""
        return self.out / self.corpus / "data"

    def model(self) -> dict[str, Any]:
        recurrent = CELLS[self.args.cell].has_recurrent_matrix
        dropped = {"weight-dropout": self.settings["weight-dropout"]} if recurrent else {}
        return {**super().model(), **dropped}

    def training(self) -> dict[str, Any]:
        training = super().training()
        return {**training, "force-anneal": training["max-epoch"] * 3 // 5 + 1}


class GBW(LanguageModel):
    """`gbw`: the training text is in parts, of which fairseq reads one per epoch."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        help = "go through the corpus N times (default 5)"
        parser.add_argument("--passes", type=positive, default=5, metavar="N", help=help)

    def text(self) -> str:
        if self.train.dry_run:  # as if the data were there
            parts = range(2, int(self.args.shards or 99) + 1)
            shards = [self.data / f"shard-{k:03d}" for k in parts]
        else:
            shards = sorted(path for path in self.data.glob("shard-*") if path.is_dir())
        return ":".join(map(str, [self.data, *shards]))

    def training(self) -> dict[str, Any]:
        epochs = self.args.passes * len(self.text().split(":"))
        return {**super().training(), "max-epoch": epochs}
