"""The scorers of a biaffine dependency parser (Dozat and Manning, 2017).

Shapes: B sentences, T words with the root in front, M features, R relations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...products import linear, product
from .dropout import LockedDropout


class Projection(nn.Module):
    """dropout(leaky_relu(W x + b)): the features of words in one role, as heads or as dependents.

    The same features are dropped at all words of a sentence.
    """

    def __init__(self, size: int, features: int, dropout: float) -> None:
        super().__init__()
        self.fc = nn.Linear(size, features)
        nn.init.orthogonal_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)
        self.dropout = LockedDropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """T x B x size -> B x T x features."""
        return self.dropout(F.leaky_relu(linear(self.fc, x), 0.1)).transpose(0, 1)


class ArcScorer(nn.Module):
    """s_ij = h_i^(dep)T U h_j^(head) + u^T h_j^(head): how well word j is the head of word i."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features + 1, features))  # [U; u^T]

    def forward(self, dependents: Tensor, heads: Tensor) -> Tensor:
        """B x T x M each -> B x T x T, dependents by heads."""
        return _with_one(dependents) @ product(heads, self.weight).transpose(1, 2)


class RelationScorer(nn.Module):
    """s_ir = [h_i^(dep); 1]^T U_r [h_j^(head); 1]: how well relation r fits word i and head j."""

    def __init__(self, features: int, relations: int) -> None:
        super().__init__()
        size = features + 1
        self.weight = nn.Parameter(torch.zeros(size * relations, size))  # rows: [h^(head)], r

    def forward(self, dependents: Tensor, heads: Tensor, places: Tensor) -> Tensor:
        """Features B x T x M each, and the index of each word's head, B x T -> B x T x R."""
        index = places.unsqueeze(-1).expand(-1, -1, heads.size(-1))
        of_heads = _with_one(heads.gather(1, index))
        scores = product(_with_one(dependents), self.weight).unflatten(-1, (-1, of_heads.size(-1)))
        return (scores @ of_heads.unsqueeze(-1)).squeeze(-1)


def _with_one(x: Tensor) -> Tensor:
    return F.pad(x, (0, 1), value=1.0)
