"""`--criterion wsum_span_loss`: the loss of the ends of answers, and the scores of SQuAD."""

from __future__ import annotations

from typing import Any

from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor
from torch.nn import functional as F

from ..data.answer_scores import exact_match, f1
from ..modules.attention_flow import best_spans


@register_criterion("wsum_span_loss", dataclass=FairseqDataclass)
class WsumSpanLoss(FairseqCriterion):
    """-ln p1(first token) - ln p2(last token), summed over questions (Seo et al., 2017, eq. 5).

    In validation, `f1` and `em` are logged: see `answer_scores.py` in `plugin/data`.
    """

    def forward(
        self, model: Any, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss, the number of questions, and what is logged."""
        starts, ends = model(**sample["net_input"])
        first, last = sample["spans"].t()
        loss = F.cross_entropy(starts, first, reduction="sum")
        loss = loss + F.cross_entropy(ends, last, reduction="sum")
        questions = len(sample["id"])
        log: dict[str, Any] = {
            "loss": loss.detach(),
            "ntokens": sample["ntokens"],
            "nsentences": questions,
            "sample_size": questions,
        }
        if not model.training:
            found = zip(sample["questions"], best_spans(starts, ends).tolist(), strict=True)
            pairs = [(one.context.part(*span), one.answers) for one, span in found]
            log["f1"] = sum(f1(*pair) for pair in pairs)
            log["em"] = sum(exact_match(*pair) for pair in pairs)
        return loss, questions, log

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the loss for each question, and in validation F1 and EM in percent."""
        questions = sum(log["nsentences"] for log in logging_outputs)
        for name, factor, digits in (("loss", 1, 4), ("f1", 100, 2), ("em", 100, 2)):
            if all(name in log for log in logging_outputs):
                total = factor * sum(float(log[name]) for log in logging_outputs)
                metrics.log_scalar(name, total / questions, questions, round=digits)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        return True
