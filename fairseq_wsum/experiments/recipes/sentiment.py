"""The recipe for sentiment."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..record import write_figures
from .language_models import InEpochs


class Sentiment(InEpochs):
    """`sst`, with two or five classes: the best checkpoint is scored."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        super().add_options(parser)
        help = "train on the sentences alone, not on all phrases of the trees"
        parser.add_argument("--no-phrases", action="store_true", help=help)

    def choose(self) -> None:
        import sklearn  # noqa: F401  # fairseq's criterion needs it; named before the training

        super().choose()
        self.settings["peer"]["model"] = {**self.settings["model"], "encoder-layers": 0}
        if self.args.no_phrases:
            self.settings["data"] += "-sentences"
            self.settings["prepare"]["no-phrases"] = True

    def default_run(self) -> str:
        kind = "sentences/" if self.args.no_phrases else ""
        return kind + super().default_run()

    def score(self) -> None:
        """Score the best checkpoint on the validation and the test set."""
        from ..classify import Classifier, accuracies

        checkpoint = self.run / "checkpoint_best.pt"
        model = Classifier(checkpoint, cpu=self.train.on_cpu, user_dir=self.train.user_dir)
        found = {subset: accuracies(model, self.data, subset) for subset in ("valid", "test")}
        for subset, scores in found.items():
            print(f"{subset}: {', '.join(f'{name} {score:.2f}' for name, score in scores.items())}")
        way = f"{self.args.variant} classes"
        write_figures(Path(self.results("figures", ".json")), way, **found)
