"""`--criterion wsum_cross_entropy`: fairseq's cross entropy with a smaller memory footprint."""

# Without `from __future__ import annotations`: fairseq needs the types of the options.
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from torch import Tensor
from torch.nn import functional as F

from ...ops import cross_entropy, kernels
from ...ops.symmetric_kl import symmetric_kl
from ..modules.softmax import adaptive_softmax, ends_in_softmax


@dataclass
class WsumCrossEntropyConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """The options of fairseq's `label_smoothed_cross_entropy`, and R-Drop."""

    rdrop_alpha: float = field(
        default=0.0,
        metadata={
            "help": "R-Drop (Liang et al., 2021): weight of the divergence between the two "
            "predictions for a sentence that passes twice with different dropout; "
            "the paper uses 5 for translation; 0 turns it off. --embedding-dropout, "
            "--weight-dropout and layer drop are the same in both predictions"
        },
    )


@register_criterion("wsum_cross_entropy", dataclass=WsumCrossEntropyConfig)
class WsumCrossEntropyCriterion(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross entropy; without smoothing, the default, plain cross entropy.

    The losses are those of fairseq's `label_smoothed_cross_entropy` and `cross_entropy`.
    For models on the CPU whose decoder ends in fairseq's softmax, as those of this package do, the
    loss is computed directly from the logits, without an array of probabilities. In all other
    cases it is computed by fairseq. The penalty that a `wsum_lstm_lm` may have in training counts
    in the gradient, but not in the loss that is logged.

    With `rdrop_alpha`, training reads each batch twice, as one batch of double size, and adds the
    divergence between the two predictions (R-Drop, equation 4 of Liang et al., "R-Drop: Regularized
    Dropout for Neural Networks", NeurIPS 2021). The gradient is that of fairseq's
    `label_smoothed_cross_entropy_with_rdrop` with the same `--rdrop-alpha`, divided by 2. What is
    logged remains comparable: the mean over both predictions, without the divergence.
    """

    def __init__(
        self,
        task: Any,
        sentence_avg: bool,
        label_smoothing: float,
        ignore_prefix_size: int = 0,
        report_accuracy: bool = False,
        rdrop_alpha: float = 0.0,
    ) -> None:
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        self.rdrop_alpha = rdrop_alpha

    @classmethod
    def build_criterion(cls, cfg: Any, task: Any) -> "WsumCrossEntropyCriterion":
        """Build the criterion that `cfg` describes.

        Raises:
            ValueError: --label-smoothing is not between 0 and 1, or --rdrop-alpha is below 0, or
                --rdrop-alpha or --ignore-prefix-size is given for a task that carries the state
                from batch to batch.
        """
        if not 0 <= cfg.label_smoothing <= 1:
            raise ValueError(f"--label-smoothing {cfg.label_smoothing}: give a number from 0 to 1")
        if not 0 <= cfg.rdrop_alpha < float("inf"):
            raise ValueError(f"--rdrop-alpha {cfg.rdrop_alpha}: give 0 or more")
        for option, given, needs in (
            ("--rdrop-alpha", cfg.rdrop_alpha > 0, "samples that are independent"),
            ("--ignore-prefix-size", cfg.ignore_prefix_size > 0, "samples that start a sentence"),
        ):
            if given and getattr(task, "carries_state", False):
                raise ValueError(
                    f"{option} needs {needs}, but --task wsum_language_modeling carries the state "
                    "from batch to batch: omit the option, or give --sample-break-mode eos"
                )
        criterion: WsumCrossEntropyCriterion = super().build_criterion(cfg, task)
        return criterion

    def forward(
        self, model: Any, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, Any, dict[str, Any]]:
        """The loss, the number by which the gradient is divided, and what is logged.

        Raises:
            ValueError: a model with an adaptive softmax is trained.
        """
        if model.training and adaptive_softmax(model) is not None:
            raise ValueError(
                "--criterion wsum_cross_entropy cannot train a model with an adaptive softmax: "
                "give --criterion adaptive_loss --ddp-backend legacy_ddp, or omit "
                "--adaptive-softmax-cutoff"
            )
        if not self._rdrop(model):
            return super().forward(model, sample, reduce)
        loss, size, log = super().forward(model, _twice(sample), reduce)
        log.update(ntokens=sample["ntokens"], nsentences=sample["target"].size(0))
        log["sample_size"] //= 2
        for name in {"loss", "nll_loss", "n_correct", "total"} & set(log):
            log[name] = log[name] / 2
        return loss, size, log

    def _rdrop(self, model: Any) -> bool:
        return self.rdrop_alpha > 0 and model.training

    def compute_loss(
        self, model: Any, net_output: Any, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The loss with and without smoothing, summed, or for each token (N x 1).

        The first of the two also has the gradient of the model's `penalty` and of R-Drop.
        """
        loss, nll = self._cross_entropy(model, net_output, sample, reduce)
        extra = net_output[1]
        if isinstance(extra, dict) and "penalty" in extra:
            # added to each token's loss, if they are not summed
            loss = loss + _only_gradient(extra["penalty"] / loss.numel())
        if self._rdrop(model):
            loss = loss + _only_gradient(
                self.rdrop_alpha * self._divergence(model, net_output, sample, reduce)
            )
        return loss, nll

    def _divergence(
        self, model: Any, net_output: Any, sample: dict[str, Any], reduce: bool
    ) -> Tensor:
        """(KL(p || q) + KL(q || p)) / 2 between the halves of a batch, in the form of the loss."""
        skipped = max(self.ignore_prefix_size, 0)
        targets = model.get_targets(sample, net_output)[:, skipped:]
        logits = net_output[0]
        if not ends_in_softmax(model):  # log-probabilities are logits, too
            logits = model.get_normalized_probs(net_output, log_probs=True)
        a, b = (half.flatten(0, 1) for half in logits[:, skipped:].chunk(2))
        padding = targets.chunk(2)[0].flatten() == self.padding_idx
        each = symmetric_kl(a, b).masked_fill(padding, 0)
        return each.sum() if reduce else torch.cat((each, each)).unsqueeze(1) / 2

    def _cross_entropy(
        self, model: Any, net_output: Any, sample: dict[str, Any], reduce: bool
    ) -> tuple[Tensor, Tensor]:
        logits = net_output[0]
        if not (ends_in_softmax(model) and kernels.accepts(logits)):
            return self._fairseqs_loss(model, net_output, sample, reduce)
        targets = model.get_targets(sample, net_output)
        skipped = max(self.ignore_prefix_size, 0)
        if skipped:
            targets = targets.clone()
            targets[:, :skipped] = self.padding_idx
        losses = cross_entropy.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), self.padding_idx
        )
        if reduce:
            nll, smooth = (loss.sum() for loss in losses)
        else:
            nll, smooth = (loss.view(targets.shape)[:, skipped:].reshape(-1, 1) for loss in losses)
        if self.eps == 0:
            return nll, nll
        share = self.eps / (logits.size(-1) - 1)  # for each word except the target
        return (1 - self.eps - share) * nll + share * smooth, nll

    def _fairseqs_loss(
        self, model: Any, net_output: Any, sample: dict[str, Any], reduce: bool
    ) -> tuple[Tensor, Tensor]:
        """fairseq's `label_smoothed_cross_entropy`, or `cross_entropy` without smoothing."""
        if self.eps != 0:
            loss: tuple[Tensor, Tensor] = super().compute_loss(model, net_output, sample, reduce)
            return loss
        log_p, targets = self.get_lprobs_and_target(model, net_output, sample)
        reduction = "sum" if reduce else "none"
        nll = F.nll_loss(log_p, targets, ignore_index=self.padding_idx, reduction=reduction)
        nll = nll if reduce else nll.unsqueeze(1)
        return nll, nll


def _twice(sample: dict[str, Any]) -> dict[str, Any]:
    """The batch of double size in which each sentence occurs twice."""

    def double(value: Any) -> Any:
        return torch.cat((value, value)) if isinstance(value, Tensor) else value

    net_input = {name: double(value) for name, value in sample["net_input"].items()}
    target, ntokens = double(sample["target"]), 2 * sample["ntokens"]
    return {**sample, "net_input": net_input, "target": target, "ntokens": ntokens}


def _only_gradient(x: Tensor) -> Tensor:
    """Zero with the gradient of `x`, so that fairseq logs the cross entropy alone."""
    return x - x.detach()
