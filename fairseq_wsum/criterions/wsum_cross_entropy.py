"""`--criterion wsum_cross_entropy`: fairseq's cross entropy, in less time and memory."""

from __future__ import annotations

from typing import Any

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from torch import Tensor

from .. import cross_entropy
from ..models.wsum_decoder_base import WsumDecoderBase


@register_criterion("wsum_cross_entropy", dataclass=LabelSmoothedCrossEntropyCriterionConfig)
class WsumCrossEntropyCriterion(LabelSmoothedCrossEntropyCriterion):
    """The loss of `label_smoothed_cross_entropy`, which is that of `cross_entropy` by default.

    On the CPU the models of this package get it from their scores without an array of
    probabilities; anything else gets fairseq's own.
    """

    def compute_loss(
        self, model: Any, net_output: Any, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, Tensor]:
        """The loss and its part without smoothing, summed, or of each token (N x 1)."""
        decoder, logits = getattr(model, "decoder", None), net_output[0]
        ours = isinstance(decoder, WsumDecoderBase) and decoder.adaptive_softmax is None
        if not (ours and cross_entropy.suits(logits)):
            return super().compute_loss(model, net_output, sample, reduce)
        targets = model.get_targets(sample, net_output)
        skipped = self.ignore_prefix_size
        logits, targets = logits[:, skipped:].flatten(0, 1), targets[:, skipped:].flatten()
        nll, smooth = cross_entropy.cross_entropy(logits, targets, self.padding_idx)
        nll, smooth = (x.sum() if reduce else x.unsqueeze(1) for x in (nll, smooth))
        if self.eps == 0:
            return nll, nll
        share = self.eps / (logits.size(1) - 1)  # of every word but the right one
        return (1 - self.eps - share) * nll + share * smooth, nll
