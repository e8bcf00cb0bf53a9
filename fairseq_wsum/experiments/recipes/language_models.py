"""Recipes for language models."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...argument_types import positive
from ...cells import CELLS
from ..files import UserError
from ..recipe import Recipe, words


class LanguageModel(Recipe):
    """A recipe for a language model."""

    def perplexity(self, *options: object) -> None:
        """Print the perplexity of the validation and the test set."""
        task = self.model()["task"]
        out = self.results("perplexity", ".json")
        self.call_on_data("perplexity.sh", *options, "--task", task, "--out", out)


class InEpochs(LanguageModel):
    """A recipe with a number of epochs and a seed, which also name the folder of a training."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--epochs", type=positive, metavar="N", help="stop after N epochs")
        add("--seed", type=positive, default=1, metavar="N", help="random seed (default 1)")

    def check(self) -> None:
        if self.has("--max-epoch"):
            raise UserError("--max-epoch: give --epochs, which also names the folder")

    @property
    def variant(self) -> str:
        """The size or the corpus, by whose name its results have a folder."""
        raise NotImplementedError

    def of_variant(self) -> Mapping[str, Any]:
        """The options of the training that the variant has of its own."""
        raise NotImplementedError

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        return int(self.args.epochs or self.of_variant()["max-epoch"])

    def training(self) -> dict[str, Any]:
        mine = {"seed": self.args.seed, "max-epoch": self.epochs}
        return {**super().training(), **self.of_variant(), **mine}

    def default_run(self) -> Path:
        return self.out / self.variant / self.cell / f"epochs-{self.epochs}-seed-{self.args.seed}"

    def score(self) -> None:
        self.perplexity("--checkpoint", self.run / "checkpoint_last.pt")


class PTB(InEpochs):
    """`ptb`, in three sizes."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        sizes = tuple(self.settings["sizes"])
        help = "small (default), medium or large"
        parser.add_argument("--size", choices=sizes, default="small", help=help)
        super().add_options(parser)

    @property
    def variant(self) -> str:
        """The size."""
        name: str = self.args.size
        return name

    @property
    def size(self) -> dict[str, Any]:
        """The settings of the size."""
        found: dict[str, Any] = self.settings["sizes"][self.variant]
        return found

    def of_variant(self) -> Mapping[str, Any]:
        found: dict[str, Any] = self.size["training"]
        return found

    def model(self) -> Mapping[str, Any]:
        if not self.is_peer:
            return {"arch": f"wsum_lstm_lm_ptb_{self.args.size}", **super().model()}
        names = ("decoder-embed-dim", "decoder-hidden-size", "decoder-out-embed-dim")
        sizes = dict.fromkeys(names, self.size["units"])
        return {**super().model(), **sizes, "dropout": self.size["dropout"]}

    def score_options(self) -> list[str]:
        # By default it accepts only samples as long as in training; eval-lm's have 1,024 tokens.
        longer = ["--model-overrides", "{'max_target_positions': 1024}"] if self.is_peer else []
        return [*super().score_options(), *longer]


class AWD(InEpochs):
    """`awd`, on two corpora."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add(
            "--corpus", choices=tuple(self.settings["corpora"]), default="ptb", help="(default ptb)"
        )
        help = "average the checkpoints of the last N epochs, at most 10 (default 5)"
        add("--average", type=positive, default=5, metavar="N", help=help)
        super().add_options(parser)

    def check(self) -> None:
        super().check()
        if self.args.average > 10:
            raise UserError(
                f"--average {self.args.average}: give 10 at most, as the checkpoints of the last "
                "10 epochs are kept"
            )

    @property
    def variant(self) -> str:
        """The corpus."""
        return self.corpus()

    def corpus(self) -> str:
        name: str = self.args.corpus
        return name

    @property
    def data(self) -> Path:
        """The prepared data."""
        return self.out / self.variant / "data"

    def of_variant(self) -> Mapping[str, Any]:
        found: dict[str, Any] = self.settings["corpora"][self.variant]
        return found

    def model(self) -> Mapping[str, Any]:
        recurrent = has_recurrent_matrix(self.args.cell, self.args.user_dir)
        dropped = {"weight-dropout": self.settings["weight-dropout"]} if recurrent else {}
        return {**super().model(), **dropped}

    def training(self) -> dict[str, Any]:
        return {**super().training(), "force-anneal": self.epochs * 3 // 5 + 1}

    def score(self) -> None:
        saved = self.epochs_saved(self.args.average)
        if saved:
            self.perplexity("--checkpoint", self.run, "--average", saved)
        else:  # the first epoch is not complete
            super().score()


class GBW(LanguageModel):
    """`gbw`: the training text is in parts, of which fairseq reads one per epoch."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("--passes", type=positive, default=5, metavar="N",
            help="go through the corpus N times (default 5)")  # fmt: skip
        add("--shards", type=positive, metavar="N",
            help="parts of the training text (default: one per file, 99)")  # fmt: skip
        add("--threshold", metavar="N", help="see scripts/prepare_gbw.sh")

    def check(self) -> None:
        if self.has("--dry-run") and self.args.own_corpus and self.args.shards is None:
            raise UserError(
                "--dry-run with --own-corpus: give --shards too, as the files have not been counted"
            )

    def prepare_options(self) -> list[str]:
        given = {"shards": self.args.shards, "threshold": self.args.threshold}
        return words({name: value for name, value in given.items() if value is not None})

    def text(self) -> str:
        if self.has("--dry-run"):  # as if the data were there
            parts = range(2, (self.args.shards or 99) + 1)
            shards = [self.data / f"shard-{k:03d}" for k in parts]
        else:
            shards = sorted(path for path in self.data.glob("shard-*") if path.is_dir())
        return ":".join(map(str, [self.data, *shards]))

    def training(self) -> dict[str, Any]:
        epochs = self.args.passes * len(self.text().split(":"))
        return {**super().training(), "max-epoch": epochs}

    def score(self) -> None:
        self.perplexity("--checkpoint", self.run / "checkpoint_best.pt")


def has_recurrent_matrix(cell: str, user_dir: str | None) -> bool:
    """Whether a cell has weights of h_{t-1} to drop; one of the user's own is in `user_dir`."""
    if user_dir is not None:
        from fairseq.utils import import_user_module

        import_user_module(argparse.Namespace(user_dir=user_dir))
    if cell not in CELLS:
        raise UserError(f"--cell {cell}: choose one of {', '.join(CELLS)}")
    return CELLS[cell].has_recurrent_matrix
