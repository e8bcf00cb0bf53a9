"""Attention over the encoder's outputs (Luong et al., 2015; Bahdanau et al., 2015).

Shapes: S source positions, T target positions, B sentences, K features of a source position,
H features of a query, N heads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...ops.products import linear

ATTENTION_TYPES = ("general", "dot", "mlp")


class Projected(NamedTuple):
    """The parts of attention that depend on the source only. In both, the batch comes first.

    Attributes:
        keys: W_s s, B x S x H, for `mlp`; W_k s by head, B x N x S x H/N, for `general` with
            several heads; else None: the keys are the values.
        values: by head, B x N x S x H/N, with several heads; else None: the values are the source.
    """

    keys: Tensor | None
    values: Tensor | None


class Attention(nn.Module):
    """Attention with the output h^ = tanh(W_out [context ; h]), context = softmax(score(h, s)) s.

    The score of a query h and a source position s is, by `kind`,

        general    s . W h                      (Luong et al., 2015)
        dot        s . h                        (Luong et al., 2015; requires K = H)
        mlp        v . tanh(W_h h + W_s s)      (Bahdanau et al., 2015)

    With several heads, head n has the score and the context

        general    W_k,n s . W_q,n h / sqrt(H/N)    softmax(score) W_v,n s    (Vaswani et al., 2017)
        dot        s_n . h_n                        softmax(score) s_n

    where each map has H/N rows, and s_n and h_n are the n-th of N equal parts. The context is that
    of all heads, side by side.

    All maps are linear. Only W_h has a bias.

    Args:
        query_size: H.
        source_size: K.
        kind: one of `ATTENTION_TYPES`.
        heads: N; 1 for `mlp`.

    Raises:
        ValueError: `kind` is unknown, or it is `dot` and K != H, or it cannot have so many heads.
    """

    def __init__(
        self, query_size: int, source_size: int, kind: str = "general", heads: int = 1
    ) -> None:
        super().__init__()
        if kind not in ATTENTION_TYPES:
            raise ValueError(
                f"unknown attention {kind!r}: choose one of {', '.join(ATTENTION_TYPES)}"
            )
        if kind == "dot" and query_size != source_size:
            raise ValueError(
                f"dot attention needs a source of the query's size, got {source_size} and "
                f"{query_size}: use general attention"
            )
        if heads < 1 or query_size % heads:
            raise ValueError(f"heads {heads}: give a divisor of the query's size, {query_size}")
        if kind == "mlp" and heads > 1:
            raise ValueError(f"heads {heads}: mlp attention has one head; use general or dot")
        self.kind = kind
        self.heads = heads
        context_size = source_size
        if kind == "general" and heads > 1:
            self.query_proj = nn.Linear(query_size, query_size, bias=False)
            self.source_proj = nn.Linear(source_size, 2 * query_size, bias=False)  # W_k and W_v
            context_size = query_size
        elif kind == "general":
            self.query_proj = nn.Linear(query_size, source_size, bias=False)
        elif kind == "mlp":
            self.query_proj = nn.Linear(query_size, query_size)
            self.source_proj = nn.Linear(source_size, query_size, bias=False)
            self.score = nn.Linear(query_size, 1, bias=False)
        self.output_proj = nn.Linear(context_size + query_size, query_size, bias=False)

    def project(self, source: Tensor) -> Projected:
        """Compute what depends on the source only. Call this once for all queries.

        Args:
            source: B x S x K.
        """
        if self.kind == "mlp":
            return Projected(linear(self.source_proj, source), None)
        if self.heads == 1:
            return Projected(None, None)
        if self.kind == "dot":
            return Projected(None, self._by_head(source))
        keys, values = linear(self.source_proj, source).chunk(2, dim=-1)
        return Projected(self._by_head(keys), self._by_head(values))

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
        keys, values = projected
        # with one head B x S x K, otherwise B*N x S x H/N
        values = source if values is None else values.flatten(0, 1)
        if keys is None:
            keys = values
        elif self.heads > 1:
            keys = keys.flatten(0, 1)
        mask = padding_mask.t().unsqueeze(1)
        if self.heads > 1:
            mask = mask.repeat_interleave(self.heads, dim=0)
        scores = self._scores(query.transpose(0, 1), keys)  # B*N x T x S
        scores = scores.masked_fill(mask, float("-inf"))
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).type_as(scores)
        context = torch.bmm(weights, values.type_as(weights))  # B*N x T x K/N or H/N
        if self.heads > 1:
            context = context.unflatten(0, (-1, self.heads)).transpose(1, 2).flatten(2)
            weights = weights.unflatten(0, (-1, self.heads)).mean(1)
        joined = torch.cat((context.transpose(0, 1), query), dim=-1)
        return torch.tanh(linear(self.output_proj, joined)), weights

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """B x T x H and B*N x S x ... -> B*N x T x S."""
        if self.kind == "mlp":
            hidden = torch.tanh(linear(self.query_proj, query).unsqueeze(2) + keys.unsqueeze(1))
            return linear(self.score, hidden).squeeze(-1)  # from B x T x S x H
        query = linear(self.query_proj, query) if self.kind == "general" else query
        if self.heads > 1:
            query = self._by_head(query).flatten(0, 1)
            if self.kind == "general":
                query = query / query.size(-1) ** 0.5
        return torch.bmm(query, keys.type_as(query).transpose(1, 2))

    def _by_head(self, x: Tensor) -> Tensor:
        """B x T x H -> B x N x T x H/N, contiguous, as products copy it otherwise."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2).contiguous()
