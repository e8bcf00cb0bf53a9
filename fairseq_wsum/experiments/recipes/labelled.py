"""Recipes for dependency parsing, question answering and sentiment."""

from __future__ import annotations

import json
from statistics import fmean
from typing import Any

import torch

from ...files import whole
from ..answer import answer, as_json
from ..corpora.sentiment import examples
from ..corpora.sentiment_trees import negations, read_trees
from ..model import load_model, write
from ..parse import parse
from .epochs import InEpochs


class Labelled(InEpochs):
    """A recipe whose best checkpoint is scored on the validation and the test set."""

    way: str  # how the scores are defined: runs whose scores differ in it are not compared

    def score(self) -> None:
        """Print the scores, and write them to `figures.json`."""
        checkpoint = self.run / "checkpoint_best.pt"
        options = {"cpu": self.train.on_cpu, "user_dir": self.train.user_dir, "data": self.data}
        model, task = load_model(checkpoint, self.model["arch"], **options)
        found = {subset: self.scores(model, task, subset) for subset in ("valid", "test")}
        for subset, scores in found.items():
            print(f"{subset}: {', '.join(f'{name} {score:.2f}' for name, score in scores.items())}")
        with whole(self.run / "figures.json") as partial:
            partial.write_text(json.dumps({"way": self.way, **found}, indent=2) + "\n")

    def scores(self, model: Any, task: Any, subset: str) -> dict[str, float]:
        """The scores of a model on a subset, the main one first."""
        raise NotImplementedError


class Parsing(Labelled):
    """`parser`: trees are compared with the treebank's."""

    way = "CoNLL 2018, gold words"

    def scores(self, model: Any, task: Any, subset: str) -> dict[str, float]:
        _, scores = parse(model, task, self.data / f"{subset}.conllu", True)
        return scores


class Answering(Labelled):
    """`squad`: answers are written and compared with the references."""

    way = "SQuAD 1.1"

    def scores(self, model: Any, task: Any, subset: str) -> dict[str, float]:
        answers, scores = answer(model, task, self.data / f"{subset}.json", True)
        name = {"valid": "predictions-valid", "test": "predictions"}[subset]
        write(as_json(answers), self.run / f"{name}.json", {})
        return scores


class Sentiment(Labelled):
    """`sst`, with two or five classes."""

    def choose(self) -> None:
        super().choose()
        self.way = f"{self.args.variant} classes"
        self.settings["peer"]["model"] = {**self.settings["model"], "encoder-layers": 0}

    def scores(self, model: Any, task: Any, subset: str) -> dict[str, float]:
        (head,), device = model.classification_heads, next(model.parameters()).device
        right: dict[str, list[int]] = {"accuracy": [], "accuracy, negated": []}
        for tree in read_trees(self.data / "trees" / f"{subset}.txt"):
            for label, words in examples([tree], int(self.args.variant)):  # not of a neutral one
                text = " ".join(words)
                tokens = task.source_dictionary.encode_line(text, add_if_not_exist=False)
                with torch.no_grad():
                    scores, _ = model(tokens.long()[None].to(device), classification_head_name=head)
                right["accuracy"].append(int(scores.argmax() == label))
                if any(one.turns for one in negations(tree)):
                    right["accuracy, negated"].append(right["accuracy"][-1])
        return {name: 100 * fmean(found) for name, found in right.items() if found}
