"""`--arch wsum_bidaf`: BiDAF, the question answering model of Seo et al. (2017).

Shapes: B questions, T tokens of a context, J tokens of a question, C bytes, H hidden units.
"""

# Without `from __future__ import annotations`: fairseq needs the types of the options.
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models import BaseFairseqModel, register_model
from fairseq.tasks import FairseqTask
from torch import Tensor, nn

from ...layer import WsumLSTM
from ...products import linear
from ..modules.attention_flow import AttentionFlow, Highway, softmax
from ..modules.dropout import Dropout
from .dictionaries import remember_words
from .fields import option, probability, size
from .words import ByteOptions, WordFeatures


@dataclass
class WsumBidafConfig(ByteOptions):
    """The options. The defaults are those of Seo et al."""

    encoder_freeze_embed: bool = option(False, "freeze the word embedding")
    modelling_layers: int = size(2, "number of layers that read the attention's result")
    dropout: float = probability(
        0.2, "dropout probability of the features of bytes and of the layers' outputs"
    )


@register_model("wsum_bidaf", dataclass=WsumBidafConfig)
class WsumBidaf(BaseFairseqModel):
    """The scores of the tokens of a context as the first and the last one of an answer.

        h, u = phrase(highway([E_w; CNN(bytes)]))      of context and question
        G    = attention(h, u)
        M    = modelling(G)
        p1   = softmax(w_1^T [G; M])
        m̃    = Σ_t p1_t M_t
        M2   = span_end([G; M; m̃; M ∘ m̃])
        p2   = softmax(w_2^T [G; M2])

    M2 is that of AllenNLP's BiDAF, which Levy et al. (2018) trained, and so are the places of
    dropout. In the equations of Seo et al., M2 is span_end(M).
    """

    def __init__(self, cfg: WsumBidafConfig, dictionary: Dictionary) -> None:
        super().__init__()
        self.dictionary = dictionary
        self.features = WordFeatures(cfg, dictionary)
        self.features.embed_tokens.weight.requires_grad = not cfg.encoder_freeze_embed
        self.dropout = Dropout(cfg.dropout)
        self.highway = Highway(self.features.size, num_layers=2)
        both = 2 * cfg.encoder_hidden_size
        self.phrase = cfg.layers(self.features.size, 1, self.dropout)
        self.attention = AttentionFlow(both)
        self.modelling = cfg.layers(4 * both, cfg.modelling_layers, self.dropout)
        self.start = nn.Linear(5 * both, 1)
        self.span_end = cfg.layers(7 * both, 1, self.dropout)
        self.end = nn.Linear(5 * both, 1)
        remember_words(self)

    @classmethod
    def build_model(cls, args: Any, task: FairseqTask) -> "WsumBidaf":
        """Build the model that `args` (a dataclass, `DictConfig` or `Namespace`) describes.

        Raises:
            ValueError: an option is invalid, or --task or --criterion is another; the message says
                so.
        """
        cfg = WsumBidafConfig.read(args)
        if not hasattr(task, "answer") or cfg.criterion_name == "cross_entropy":
            raise ValueError(
                "--arch wsum_bidaf: give --task wsum_span_prediction and --criterion wsum_span_loss"
            )
        return cls(cfg, task.source_dictionary)

    def forward(
        self,
        src_tokens: Tensor,
        src_bytes: Tensor,
        question_tokens: Tensor,
        question_bytes: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """w_1^T [G; M] and w_2^T [G; M2], B x T each, in float32; -inf at padding.

        Contexts have B x T tokens and B x T x C bytes, questions B x J and B x J x C, both padded
        on the right.
        """
        pad = self.dictionary.pad()
        mask, question_mask = src_tokens.eq(pad), question_tokens.eq(pad)
        h = self._run(self.phrase, self._embed(src_tokens, src_bytes), mask)
        u = self._run(self.phrase, self._embed(question_tokens, question_bytes), question_mask)
        g = self.attention(h, u, mask, question_mask)
        m = self._run(self.modelling, g, mask)
        start = self._score(self.start, g, m, mask)
        chosen = softmax(start, m).unsqueeze(1) @ m  # B x 1 x 2H
        end_features = torch.cat((g, m, chosen.expand_as(m), m * chosen), dim=-1)
        m2 = self._run(self.span_end, end_features, mask)
        return start, self._score(self.end, g, m2, mask)

    def _embed(self, tokens: Tensor, bytes: Tensor) -> Tensor:
        words, *of_bytes = self.features(tokens, bytes)
        return self.highway(torch.cat((words, *map(self.dropout, of_bytes)), dim=-1))

    def _run(self, layers: WsumLSTM, x: Tensor, mask: Tensor) -> Tensor:
        """B x T x features -> B x T x 2H."""
        y, _ = layers(x.transpose(0, 1), padding_mask=mask.t() if mask.any() else None)
        return self.dropout(y.transpose(0, 1))

    def _score(self, module: nn.Linear, g: Tensor, m: Tensor, mask: Tensor) -> Tensor:
        scores = linear(module, self.dropout(torch.cat((g, m), dim=-1))).squeeze(-1)
        return scores.float().masked_fill(mask, float("-inf"))
