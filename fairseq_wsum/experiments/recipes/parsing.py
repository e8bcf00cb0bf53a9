"""The recipe for dependency parsing."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...argument_types import positive
from ..recipe import Recipe
from ..record import write_figures


class BestEpoch(Recipe):
    """A recipe with a number of epochs and a seed, whose best checkpoint is scored."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        number = self.settings["training"]["max-epoch"]
        help = f"train for N epochs (default {number})"
        add("--epochs", "--max-epoch", type=positive, default=number, metavar="N", help=help)
        add("--seed", type=positive, default=1, metavar="N", help="random seed (default 1)")

    def choose(self) -> None:
        self.settings["training"] |= {"seed": self.args.seed, "max-epoch": self.args.epochs}

    def default_run(self) -> str:
        return f"{self.cell}/epochs-{self.args.epochs}-seed-{self.args.seed}"

    def write(self, way: str, found: dict[str, dict[str, float]]) -> None:
        """Print the scores of each subset, and write them; `way` as of `write_figures`."""
        for subset, scores in found.items():
            print(f"{subset}: {', '.join(f'{name} {score:.2f}' for name, score in scores.items())}")
        write_figures(Path(self.results("figures", ".json")), way, **found)


class Parsing(BestEpoch):
    """`parser`: trees of the best checkpoint are compared with the treebank's."""

    def choose(self) -> None:
        import conllu  # noqa: F401  # missing packages are named before the training
        import ufal.chu_liu_edmonds  # noqa: F401

        super().choose()

    def score(self) -> None:
        """Score the best checkpoint on the validation and the test set."""
        from ..parse import WAY, Parser, score_treebank

        checkpoint = self.run / "checkpoint_best.pt"
        model = Parser(checkpoint, cpu=self.train.on_cpu, user_dir=self.train.user_dir)
        found = {
            subset: score_treebank(model, self.data / f"{subset}.conllu")
            for subset in ("valid", "test")
        }
        self.write(WAY, found)
