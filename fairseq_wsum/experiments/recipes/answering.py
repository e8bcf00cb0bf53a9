"""The recipe for question answering."""

from __future__ import annotations

from pathlib import Path

from .parsing import BestEpoch


class Answering(BestEpoch):
    """`squad`: the answers of the best checkpoint are written and scored."""

    def score(self) -> None:
        """Answer the questions of the validation and the test set."""
        from ..answer import WAY, answer, write
        from ..model import load_model

        options = {"cpu": self.train.on_cpu, "user_dir": self.train.user_dir, "data": None}
        checkpoint = self.run / "checkpoint_best.pt"
        model, task = load_model(checkpoint, self.model["arch"], **options)
        found = {}
        for subset in ("valid", "test"):
            answers, found[subset] = answer(model, task, self.data / f"{subset}.json", True)
            name = {"valid": "predictions-valid", "test": "predictions"}[subset]
            write(Path(self.results(name, ".json")), answers)
        self.write(WAY, found)
