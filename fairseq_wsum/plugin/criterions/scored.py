"""A criterion that logs scores beside its loss."""

from __future__ import annotations

from typing import Any, ClassVar

from fairseq.criterions import FairseqCriterion
from fairseq.logging import metrics
from torch import Tensor


class ScoredCriterion(FairseqCriterion):
    """Logs means over the sample size: of the loss, and in validation of `scores`, in percent."""

    scores: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def log(loss: Tensor, sample: dict[str, Any], size: int) -> dict[str, Any]:
        """What a batch logs, to which a criterion adds the sums of its scores."""
        counts = {name: sample[name] for name in ("ntokens", "nsentences")}
        return {"loss": loss.detach(), "sample_size": size, **counts}

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log what the batches of all processes have."""
        size = sum(log["sample_size"] for log in logging_outputs)
        for name, factor, digits in (("loss", 1, 4), *((name, 100, 2) for name in cls.scores)):
            if all(name in log for log in logging_outputs):
                total = factor * sum(float(log[name]) for log in logging_outputs)
                metrics.log_scalar(name, total / size, size, round=digits)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
