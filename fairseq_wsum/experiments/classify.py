"""The accuracy of a trained classifier of sentences."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import PACKAGE, UserError
from .folder import import_fairseq, read_record
from .sentiment_trees import is_negated, read_trees

if TYPE_CHECKING:
    from torch import Tensor

MAX_TOKENS = 5000  # words of a batch, which changes no result


class Classifier:
    """A trained model of fairseq's `sentence_prediction`.

    Args:
        checkpoint: its checkpoint.
        cpu: whether not to use a GPU.
        user_dir: the package with its cell.

    Raises:
        UserError: the checkpoint cannot be read.
    """

    def __init__(
        self, checkpoint: Path, *, cpu: bool = False, user_dir: str = str(PACKAGE)
    ) -> None:
        import_fairseq()
        import torch
        from fairseq import checkpoint_utils, utils

        from .. import plugin  # noqa: F401  registers the model

        if user_dir != str(PACKAGE):
            utils.import_user_module(Namespace(user_dir=user_dir))
        overrides: dict[str, Any] = {"encoder_embed_path": None, "lstm_backend": "auto"}
        try:
            (model,), cfg, self.task = checkpoint_utils.load_model_ensemble_and_task(
                [str(checkpoint)], arg_overrides=overrides
            )
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read the model {checkpoint}: {error}") from error
        self.head = cfg.criterion.classification_head_name
        self.device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
        self.model = model.to(self.device).eval()

    def correct(self, subset: str) -> Tensor:
        """Whether each sentence of a subset of the training's data is classified correctly."""
        import torch
        from fairseq import utils

        self.task.load_dataset(subset)
        dataset = self.task.dataset(subset)
        found = torch.zeros(len(dataset), dtype=torch.bool)
        batches = self.task.get_batch_iterator(
            dataset, max_tokens=MAX_TOKENS, max_positions=self.task.max_positions()
        )
        for batch in batches.next_epoch_itr(shuffle=False):
            sample = utils.move_to_cuda(batch) if self.device.type == "cuda" else batch
            with torch.no_grad():
                scores, _ = self.model(**sample["net_input"], classification_head_name=self.head)
            found[batch["id"]] = scores.argmax(-1).cpu() == batch["target"].view(-1)
        return found


def accuracies(model: Classifier, data: Path, subset: str) -> dict[str, float]:
    """The accuracy in per cent, and that of the negated sentences, if the data has trees.

    Args:
        model: the model, trained on `data`.
        data: a folder made by `fairseq-wsum prepare sst`.
        subset: `valid` or `test`.
    """
    correct = model.correct(subset)
    found = {"accuracy": 100 * correct.double().mean().item()}
    trees = data / "trees" / f"{subset}.txt"
    if trees.is_file():
        two = read_record(data)["labels"] == 2  # without neutral sentences: see `examples`
        negated = [is_negated(one) for one in read_trees(trees) if one.side or not two]
        if any(negated):
            found["accuracy, negated"] = 100 * correct[negated].double().mean().item()
    return found
