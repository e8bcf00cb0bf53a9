"""Recipes for language models."""

from __future__ import annotations

import argparse

from omegaconf import OmegaConf

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
        options = ["--checkpoint", str(model), *averaged, "--task", self.model["task"]]
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

    def choose(self) -> None:
        # the settings of a variant come after those that all have
        merged = OmegaConf.merge(self.settings, self.settings["variants"][self.args.variant])
        self.settings = OmegaConf.to_container(merged)
        training = self.settings["training"]
        training |= {"seed": self.args.seed, "max-epoch": self.args.epochs or training["max-epoch"]}

    def default_run(self) -> str:
        epochs = self.training["max-epoch"]
        return f"{self.args.variant}/{self.cell}/epochs-{epochs}-seed-{self.args.seed}"


class PTB(InEpochs):
    """`ptb`, in three sizes."""

    def score_options(self) -> list[str]:
        # By default fairseq's own model accepts only samples as long as in training; eval-lm's have
        # 1,024 tokens.
        longer = ["--model-overrides", "{'max_target_positions': 1024}"]
        return [*super().score_options(), *(longer if self.args.peer else [])]


class AWD(InEpochs):
    """`awd`, on two corpora."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        super().add_options(parser)
        help = "average the checkpoints of the last N epochs (default 5); 10 are kept"
        parser.add_argument("--average", type=positive, default=5, metavar="N", help=help)

    def choose(self) -> None:
        super().choose()
        if CELLS[self.args.cell].has_recurrent_matrix:
            self.settings["model"]["weight-dropout"] = self.settings["weight-dropout"]
        training = self.settings["training"]
        training["force-anneal"] = training["max-epoch"] * 3 // 5 + 1


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

    def command(self) -> list[str]:
        self.training["max-epoch"] = self.args.passes * len(self.text().split(":"))
        return super().command()
