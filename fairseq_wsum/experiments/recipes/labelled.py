"""Recipes for dependency parsing, question answering and sentiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..model import load_model, write
from ..record import write_figures
from .epochs import InEpochs


class Labelled(InEpochs):
    """A recipe whose best checkpoint is scored on the validation and the test set."""

    way: str  # how the scores are defined: see `write_figures`

    def score(self) -> None:
        """Print the scores, and write them to `figures.json`."""
        checkpoint = self.run / "checkpoint_best.pt"
        options = {"cpu": self.train.on_cpu, "user_dir": self.train.user_dir}
        model, task = load_model(checkpoint, self.model["arch"], **options)
        found = {subset: self.scores(model, task, subset) for subset in ("valid", "test")}
        for subset, scores in found.items():
            print(f"{subset}: {', '.join(f'{name} {score:.2f}' for name, score in scores.items())}")
        write_figures(Path(self.results("figures", ".json")), self.way, **found)

    def scores(self, model: Any, task: Any, subset: str) -> dict[str, float]:
        """The scores of a model on a subset, the main one first."""
        raise NotImplementedError


class Parsing(Labelled):
    """`parser`: trees are compared with the treebank's."""

    way = "CoNLL 2018, gold words"

    def scores(self, model: Any, task: Any, subset: str) -> dict[str, float]:
        from ..parse import parse

        _, scores = parse(model, task, self.data / f"{subset}.conllu", True)
        return scores


class Answering(Labelled):
    """`squad`: answers are written and compared with the references."""

    way = "SQuAD 1.1"

    def scores(self, model: Any, task: Any, subset: str) -> dict[str, float]:
        from ..answer import answer, as_json

        answers, scores = answer(model, task, self.data / f"{subset}.json", True)
        name = {"valid": "predictions-valid", "test": "predictions"}[subset]
        write(as_json(answers), Path(self.results(name, ".json")), {})
        return scores


class Sentiment(Labelled):
    """`sst`, with two or five classes."""

    def choose(self) -> None:
        super().choose()
        self.way = f"{self.args.variant} classes"
        self.settings["peer"]["model"] = {**self.settings["model"], "encoder-layers": 0}

    def scores(self, model: Any, task: Any, subset: str) -> dict[str, float]:
        import torch
        from fairseq import utils

        from ..sentiment_trees import is_negated, read_trees

        (head,), device = model.classification_heads, next(model.parameters()).device
        data = task.load_dataset(subset)
        correct = torch.zeros(len(data), dtype=torch.bool)
        for batch in task.get_batch_iterator(data, max_tokens=5000).next_epoch_itr(False):
            inputs = utils.apply_to_sample(lambda part: part.to(device), batch["net_input"])
            with torch.no_grad():
                scores, _ = model(**inputs, classification_head_name=head)
            correct[batch["id"]] = scores.argmax(-1).cpu() == batch["target"].view(-1)
        trees = read_trees(self.data / "trees" / f"{subset}.txt")
        # with two classes `prepare` leaves out neutral sentences
        kept = [one for one in trees if one.side or self.args.variant != "2"]
        chosen = {"accuracy": torch.ones_like(correct)}
        chosen["accuracy, negated"] = torch.tensor([is_negated(one) for one in kept])
        return {
            name: 100 * correct[which].double().mean().item()
            for name, which in chosen.items()
            if which.any()
        }
