"""Attention over the encoder's outputs (Luong et al., 2015; Bahdanau et al., 2015).

Shapes: S source positions, T target positions, B sentences, K features of a source position,
H features of a query, N heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...products import linear


class Projected(NamedTuple):
    """The parts of attention that depend on the source only. In both, the batch comes first.

    Attributes:
        keys: W_s s, B x S x H, for `MLP`; W_k s by head, B x N x S x H/N, for `Heads`; else None:
            the keys are the source.
        values: by head, B x N x S x H/N, with several heads; else None: the values are the source.
    """

    keys: Tensor | None
    values: Tensor | None


class Attention(nn.Module):
    """Attention with the output h^ = tanh(W_out [context ; h]), context = softmax(score(h, s)) s.

    A subclass defines the score of a query h and a source position s. All maps are linear.

    Args:
        query_size: H.
        source_size: K.
        heads: N.
    """

    def __init__(self, query_size: int, source_size: int, heads: int = 1) -> None:
        super().__init__()
        assert query_size % heads == 0
        self.heads = heads
        context_size = self.add_maps(query_size, source_size)
        self.output_proj = nn.Linear(context_size + query_size, query_size, bias=False)

    def add_maps(self, query_size: int, source_size: int) -> int:
        """Add the maps of the score, and return the number of features of the context."""
        return source_size

    def project(self, source: Tensor) -> Projected:
        """Compute what depends on the source only. Call this once for all queries.

        Args:
            source: B x S x K.
        """
        return Projected(None, None)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """B x T x H and B*N x S x ... -> B*N x T x S."""
        raise NotImplementedError

    def forward(
        self, query: Tensor, source: Tensor, projected: Projected, padding_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attend from each query.

        Args:
            query: T x B x H.
            source: B x S x K; should be contiguous, because products copy it otherwise.
            projected: the result of `project(source)`.
            padding_mask: True at source padding, S x B.

        Returns:
            The attentional output, T x B x H, and the attention weights, B x T x S, the mean over
            all heads.
        """
        mask = padding_mask.t().unsqueeze(1)
        context, weights = self.attend(query.transpose(0, 1), source, projected, mask)
        joined = torch.cat((context.transpose(0, 1), query), dim=-1)
        return torch.tanh(linear(self.output_proj, joined)), weights

    def attend(
        self, query: Tensor, source: Tensor, projected: Projected, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The context and the weights, B x T x ..., for queries B x T x H and a mask B x 1 x S."""
        keys = source if projected.keys is None else projected.keys
        return self.weighted_sum(query, keys, source, mask)

    def weighted_sum(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The context and the weights of each head: B*N x T x K or H/N, and B*N x T x S."""
        scores = self.scores(query, keys).masked_fill(mask, float("-inf"))
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).type_as(scores)
        return torch.bmm(weights, values.type_as(weights)), weights


class General(Attention):
    """The score s . W h (Luong et al., 2015)."""

    def add_maps(self, query_size: int, source_size: int) -> int:
        self.query_proj = nn.Linear(query_size, source_size, bias=False)
        return source_size

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        return _products(linear(self.query_proj, query), keys)


class Dot(Attention):
    """The score s . h (Luong et al., 2015); requires K = H."""

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        return _products(query, keys)


class MLP(Attention):
    """The score v . tanh(W_h h + W_s s) (Bahdanau et al., 2015); W_h has a bias."""

    def add_maps(self, query_size: int, source_size: int) -> int:
        self.query_proj = nn.Linear(query_size, query_size)
        self.source_proj = nn.Linear(source_size, query_size, bias=False)
        self.score = nn.Linear(query_size, 1, bias=False)
        return source_size

    def project(self, source: Tensor) -> Projected:
        return Projected(linear(self.source_proj, source), None)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        hidden = torch.tanh(linear(self.query_proj, query).unsqueeze(2) + keys.unsqueeze(1))
        return linear(self.score, hidden).squeeze(-1)  # from B x T x S x H


class Heads(Attention):
    """Head n has the score W_k,n s . W_q,n h / sqrt(H/N) and the context softmax(score) W_v,n s.

    Each map has H/N rows (Vaswani et al., 2017). The context is that of all heads, side by side.
    """

    def add_maps(self, query_size: int, source_size: int) -> int:
        self.query_proj = nn.Linear(query_size, query_size, bias=False)
        self.source_proj = nn.Linear(source_size, 2 * query_size, bias=False)  # W_k and W_v
        return query_size

    def project(self, source: Tensor) -> Projected:
        keys, values = linear(self.source_proj, source).chunk(2, dim=-1)
        return Projected(self._by_head(keys), self._by_head(values))

    def attend(
        self, query: Tensor, source: Tensor, projected: Projected, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        assert projected.keys is not None and projected.values is not None
        keys, values = projected.keys.flatten(0, 1), projected.values.flatten(0, 1)
        mask = mask.repeat_interleave(self.heads, dim=0)
        context, weights = self.weighted_sum(query, keys, values, mask)
        context = context.unflatten(0, (-1, self.heads)).transpose(1, 2).flatten(2)
        return context, weights.unflatten(0, (-1, self.heads)).mean(1)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        query = self._by_head(linear(self.query_proj, query)).flatten(0, 1)
        return _products(query / query.size(-1) ** 0.5, keys)

    def _by_head(self, x: Tensor) -> Tensor:
        """B x T x H -> B x N x T x H/N, contiguous, as products copy it otherwise."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2).contiguous()


def _products(query: Tensor, keys: Tensor) -> Tensor:
    return torch.bmm(query, keys.type_as(query).transpose(1, 2))


ATTENTIONS: dict[str, type[Attention]] = {"general": General, "dot": Dot, "mlp": MLP}


def make_attention(kind: str, query_size: int, source_size: int, heads: int = 1) -> Attention:
    """Attention of a kind in `ATTENTIONS`; `general` may have several heads."""
    return (ATTENTIONS[kind] if heads == 1 else Heads)(query_size, source_size, heads)
