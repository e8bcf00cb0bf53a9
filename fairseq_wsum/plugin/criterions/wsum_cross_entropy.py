"""`--criterion wsum_cross_entropy`: fairseq's cross entropy with a smaller memory footprint."""

from __future__ import annotations

from typing import Any

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.models import FairseqDecoder
from torch import Tensor
from torch.nn import functional as F

from ...ops import cross_entropy


@register_criterion("wsum_cross_entropy", dataclass=LabelSmoothedCrossEntropyCriterionConfig)
class WsumCrossEntropyCriterion(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross entropy; without smoothing, the default, plain cross entropy.

    The losses are those of fairseq's `label_smoothed_cross_entropy` and `cross_entropy`.
    For models on the CPU whose decoder ends in fairseq's softmax, as those of this package do, the
    loss is computed directly from the logits, without an array of probabilities. In all other
    cases it is computed by fairseq. The penalty that a `wsum_lstm_lm` may have in training counts
    in the gradient, but not in the loss that is logged.
    """

    @classmethod
    def build_criterion(cls, cfg: Any, task: Any) -> WsumCrossEntropyCriterion:
        """Build the criterion that `cfg` describes.

        Raises:
            ValueError: --label-smoothing is not between 0 and 1.
        """
        if not 0 <= cfg.label_smoothing <= 1:
            raise ValueError(f"--label-smoothing {cfg.label_smoothing}: give a number from 0 to 1")
        criterion: WsumCrossEntropyCriterion = super().build_criterion(cfg, task)
        return criterion

    def compute_loss(
        self, model: Any, net_output: Any, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The loss with and without smoothing, summed, or for each token (N x 1).

        If the model returns a `penalty`, the first of the two has its gradient, too.
        """
        loss, nll = self._cross_entropy(model, net_output, sample, reduce)
        extra = net_output[1]
        if isinstance(extra, dict) and "penalty" in extra:
            # This adds zero, so that fairseq logs the cross entropy.
            loss = loss + (extra["penalty"] - extra["penalty"].detach())
        return loss, nll

    def _cross_entropy(
        self, model: Any, net_output: Any, sample: dict[str, Any], reduce: bool
    ) -> tuple[Tensor, Tensor]:
        logits = net_output[0]
        if not (_ends_in_softmax(model) and cross_entropy.suits(logits)):
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


def _ends_in_softmax(model: Any) -> bool:
    """Whether a model's probabilities are fairseq's softmax over its first output."""
    decoder = getattr(model, "decoder", None)
    return (
        isinstance(decoder, FairseqDecoder)
        and getattr(decoder, "adaptive_softmax", None) is None
        and all(
            getattr(type(decoder), name) is getattr(FairseqDecoder, name)
            for name in ("get_normalized_probs", "get_normalized_probs_scriptable")
        )
    )
