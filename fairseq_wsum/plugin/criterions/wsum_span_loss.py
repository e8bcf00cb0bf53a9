"""`--criterion wsum_span_loss`: the loss of the ends of answers, and the scores of SQuAD."""

from __future__ import annotations

from typing import Any

from fairseq.criterions import register_criterion
from fairseq.dataclass import FairseqDataclass
from torch import Tensor
from torch.nn import functional as F

from ..data.answer_scores import exact_match, f1
from ..modules.attention_flow import best_spans
from .scored import ScoredCriterion


@register_criterion("wsum_span_loss", dataclass=FairseqDataclass)
class WsumSpanLoss(ScoredCriterion):
    """-ln p1(first token) - ln p2(last token), summed over questions (Seo et al., 2017, eq. 5).

    In validation, `f1` and `em` are logged: see `answer_scores.py` in `plugin/data`.
    """

    scores = ("f1", "em")

    def forward(
        self, model: Any, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss, the number of questions, and what is logged."""
        starts, ends = model(**sample["net_input"])
        first, last = sample["spans"].t()
        loss = F.cross_entropy(starts, first, reduction="sum")
        loss = loss + F.cross_entropy(ends, last, reduction="sum")
        log = self.log(loss, sample, sample["nsentences"])
        if not model.training:
            found = zip(sample["questions"], best_spans(starts, ends).tolist(), strict=True)
            pairs = [(one.context.part(*span), one.answers) for one, span in found]
            log["f1"] = sum(f1(*pair) for pair in pairs)
            log["em"] = sum(exact_match(*pair) for pair in pairs)
        return loss, sample["nsentences"], log
