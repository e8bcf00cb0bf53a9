"""`--arch wsum_biaffine_parser`: the deep biaffine parser of Dozat and Manning (2017).

Shapes: B sentences, T words with the root in front, C bytes, M features, R relations.
"""

# Without `from __future__ import annotations`: fairseq needs the types of the options.
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from fairseq.models import BaseFairseqModel, register_model
from fairseq.tasks import FairseqTask
from torch import Tensor, nn

from ..modules.biaffine import ArcScorer, Projection, RelationScorer
from ..modules.dropout import LockedDropout
from ..modules.trees import best_tree
from .dictionaries import remember_words
from .fields import probability, size
from .words import ByteOptions, WordFeatures


@dataclass
class WsumBiaffineParserConfig(ByteOptions):
    """The options. The defaults are those of Dozat and Manning."""

    character_embedding_dim: int = size(50, "embedding dimension of a byte")
    tag_embed_dim: int = size(100, "embedding dimension of a tag (see --tags)")
    encoder_layers: int = size(3, "number of encoder layers, in two directions each")
    encoder_hidden_size: int = size(400, "hidden size of each direction")
    arc_features: int = size(500, "features of a word for the scores of arcs")
    relation_features: int = size(100, "features of a word for the scores of relations")
    dropout: float = probability(
        0.33,
        "dropout probability of the layers' outputs and of the features for the scores: the same "
        "features at all words of a sentence; and of whole embeddings",
    )


class Scores(NamedTuple):
    """What the parser computes of a batch."""

    arcs: Tensor  # B x T x T, dependents by heads; -inf for a head that is padding
    dependents: Tensor  # features for the scores of relations, B x T x M
    heads: Tensor  # the same of words as heads, B x T x M
    relations: Tensor | None = None  # with given heads: scores of each word's relation, B x T x R


class WsumBiaffineEncoder(nn.Module):
    """Embeddings of words, their bytes and their tags, and layers in two directions."""

    def __init__(self, cfg: WsumBiaffineParserConfig, task: FairseqTask) -> None:
        super().__init__()
        self.dictionary = task.source_dictionary
        self.features = WordFeatures(cfg, self.dictionary)
        tags = task.tags[0] if task.tags else None
        self.embed_tags = nn.Embedding(len(tags), cfg.tag_embed_dim) if tags else None
        self.dropout = LockedDropout(cfg.dropout)
        size = self.features.size + (cfg.tag_embed_dim if tags else 0)
        self.lstm = cfg.layers(size, cfg.encoder_layers, self.dropout)
        remember_words(self, relations=task.relation_dictionary, tags=tags)

    def forward(self, tokens: Tensor, bytes: Tensor, tags: Tensor | None) -> tuple[Tensor, Tensor]:
        """The outputs, T x B x 2H, and the padding mask, T x B."""
        parts = self.features(tokens, bytes)
        if self.embed_tags is not None:
            parts.append(self.embed_tags(tags))
        x = torch.cat(self._drop_whole(parts), dim=-1).transpose(0, 1)
        mask = tokens.eq(self.dictionary.pad()).t()
        y, _ = self.lstm(x, padding_mask=mask if mask.any() else None)
        return self.dropout(y), mask

    def _drop_whole(self, parts: list[Tensor]) -> list[Tensor]:
        """Drop each part of each word on its own; those that are left are scaled in their place."""
        if not self.dropout.active:
            return parts
        kept = torch.rand(*parts[0].shape[:2], len(parts), device=parts[0].device) >= self.dropout.p
        scale = len(parts) / kept.sum(-1, keepdim=True).clamp(min=1)
        masks = (kept * scale).to(parts[0].dtype).unsqueeze(-1).unbind(-2)
        return [part * mask for part, mask in zip(parts, masks, strict=True)]


@register_model("wsum_biaffine_parser", dataclass=WsumBiaffineParserConfig)
class WsumBiaffineParser(BaseFairseqModel):
    """A dependency parser: scores of all arcs between two words, and of the arcs' relations."""

    def __init__(self, cfg: WsumBiaffineParserConfig, task: FairseqTask) -> None:
        super().__init__()
        self.encoder = WsumBiaffineEncoder(cfg, task)
        size, p = 2 * cfg.encoder_hidden_size, cfg.dropout
        self.arc_dependents = Projection(size, cfg.arc_features, p)
        self.arc_heads = Projection(size, cfg.arc_features, p)
        self.relation_dependents = Projection(size, cfg.relation_features, p)
        self.relation_heads = Projection(size, cfg.relation_features, p)
        self.arcs = ArcScorer(cfg.arc_features)
        self.relations = RelationScorer(cfg.relation_features, len(task.relation_dictionary))
        self.first_relation = task.relation_dictionary.nspecial  # after fairseq's symbols
        self.root = task.relation_dictionary.index("root")  # one of these symbols if it is unknown

    @classmethod
    def build_model(cls, args: Any, task: FairseqTask) -> "WsumBiaffineParser":
        """Build the model that `args` (a dataclass, `DictConfig` or `Namespace`) describes.

        Raises:
            ValueError: an option is invalid, or --task or --criterion is another; the message says
                so.
        """
        cfg = WsumBiaffineParserConfig.read(args)
        if not hasattr(task, "relation_dictionary") or cfg.criterion_name == "cross_entropy":
            raise ValueError(
                "--arch wsum_biaffine_parser: give --task wsum_dependency_parsing and --criterion "
                "wsum_parsing_loss"
            )
        return cls(cfg, task)

    def forward(
        self,
        src_tokens: Tensor,
        src_bytes: Tensor,
        src_tags: Tensor | None = None,
        heads: Tensor | None = None,
    ) -> Scores:
        """Score B x T words, padded on the right, with B x T x C bytes and B x T tags.

        The first word of each sentence is the root. With the B x T heads of the words, the
        relations to them are scored, too.
        """
        x, mask = self.encoder(src_tokens, src_bytes, src_tags)
        arcs = self.arcs(self.arc_dependents(x), self.arc_heads(x)).float()
        arcs = arcs.masked_fill(mask.t().unsqueeze(1), float("-inf"))
        scores = Scores(arcs, self.relation_dependents(x), self.relation_heads(x))
        if heads is None:
            return scores
        return scores._replace(relations=self.relation_scores(scores, heads))

    def relation_scores(self, scores: Scores, heads: Tensor) -> Tensor:
        """The scores of the relation of each word to its head, B x T -> B x T x R."""
        return self.relations(scores.dependents, scores.heads, heads).float()

    @torch.no_grad()
    def parse(self, scores: Scores) -> tuple[Tensor, Tensor]:
        """The best tree of each sentence, and the best relation of each word to its head.

        As Universal Dependencies have it, a word's relation is `root` if and only if its head is 0.

        Returns:
            Heads and relations, B x T; those of the root and of padding have no meaning.
        """
        heads = torch.zeros(scores.arcs.shape[:2], dtype=torch.long)
        lengths = scores.arcs[:, 0].ne(float("-inf")).sum(1).tolist()  # with the root
        for row, arcs, length in zip(heads, scores.arcs.cpu().numpy(), lengths, strict=True):
            row[1:length] = torch.tensor(best_tree(arcs[:length, :length]))
        heads = heads.to(scores.arcs.device)
        relations = self.relation_scores(scores, heads)
        relations[..., self.root] = torch.where(heads == 0, float("inf"), float("-inf"))
        return heads, self.first_relation + relations[..., self.first_relation :].argmax(-1)
