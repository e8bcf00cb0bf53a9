"""The recipe for sentiment."""

from __future__ import annotations

from pathlib import Path

import torch

from ..folder import import_fairseq
from ..record import write_figures
from ..sentiment_trees import is_negated, read_trees
from .language_models import InEpochs


class Sentiment(InEpochs):
    """`sst`, with two or five classes: the best checkpoint is scored."""

    def choose(self) -> None:
        super().choose()
        self.settings["peer"]["model"] = {**self.settings["model"], "encoder-layers": 0}

    def score(self) -> None:
        """Score the best checkpoint on the validation and the test set."""
        import_fairseq()
        from fairseq import checkpoint_utils

        from ... import plugin  # noqa: F401  registers the model

        (model,), cfg, task = checkpoint_utils.load_model_ensemble_and_task(
            [str(self.run / "checkpoint_best.pt")],
            arg_overrides={"encoder_embed_path": None, "lstm_backend": "auto"},
        )
        head, found = cfg.criterion.classification_head_name, {}
        for subset in ("valid", "test"):
            data = task.load_dataset(subset)
            correct = torch.zeros(len(data), dtype=torch.bool)
            for batch in task.get_batch_iterator(data, max_tokens=5000).next_epoch_itr(False):
                with torch.no_grad():
                    scores, _ = model.eval()(**batch["net_input"], classification_head_name=head)
                correct[batch["id"]] = scores.argmax(-1) == batch["target"].view(-1)
            chosen = {"accuracy": torch.ones_like(correct)}
            trees = self.data / "trees" / f"{subset}.txt"
            if trees.is_file():  # with two classes `prepare` leaves out neutral sentences
                kept = (one for one in read_trees(trees) if one.side or self.args.variant != "2")
                chosen["accuracy, negated"] = torch.tensor([is_negated(one) for one in kept])
            found[subset] = {
                name: 100 * correct[which].double().mean().item()
                for name, which in chosen.items()
                if which.any()
            }
            print(
                f"{subset}: {', '.join(f'{k} {score:.2f}' for k, score in found[subset].items())}"
            )
        way = f"{self.args.variant} classes"
        write_figures(Path(self.results("figures", ".json")), way, **found)
