"""`--criterion wsum_parsing_loss`: the loss of heads and relations, and attachment scores."""

from __future__ import annotations

from typing import Any

from fairseq.criterions import register_criterion
from fairseq.dataclass import FairseqDataclass
from torch import Tensor
from torch.nn import functional as F

from .scored import ScoredCriterion


@register_criterion("wsum_parsing_loss", dataclass=FairseqDataclass)
class WsumParsingLoss(ScoredCriterion):
    """-log p(head) - log p(relation | gold head), summed over words (Dozat and Manning, 2017).

    In validation the model's trees are compared with the gold ones, and `uas` and `las` are logged:
    the percentage of words with the right head, and with the right head and relation. Here the
    relation is the whole one, such as `nsubj:pass`; see `fairseq-wsum parse --scores`.
    """

    scores = ("uas", "las")

    def forward(
        self, model: Any, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """The loss, the number of words, and what is logged."""
        inputs = sample["net_input"]
        heads, relations = sample["heads"], sample["relations"]
        scores = model(**inputs, heads=heads)
        words = inputs["src_tokens"].ne(self.task.source_dictionary.pad())
        words[:, 0] = False  # the root
        of_heads = F.cross_entropy(scores.arcs[words], heads[words], reduction="sum")
        of_relations = F.cross_entropy(scores.relations[words], relations[words], reduction="sum")
        loss = of_heads + of_relations
        log = self.log(loss, sample, sample["ntokens"])
        if not model.training:
            found_heads, found_relations = model.parse(scores)
            right = found_heads.eq(heads) & words
            log["uas"] = right.sum()
            log["las"] = (right & found_relations.eq(relations)).sum()
        return loss, sample["ntokens"], log
