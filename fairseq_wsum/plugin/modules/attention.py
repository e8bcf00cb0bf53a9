"""Attention over the encoder's outputs (Luong et al., 2015; Bahdanau et al., 2015).

Shapes: S source positions, T target positions, B sentences, K features of a source position,
H features of a query.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...ops.products import Linear

ATTENTION_TYPES = ("general", "dot", "mlp")


class Attention(nn.Module):
    """Attention with the output h^ = tanh(W_out [context ; h]), context = softmax(score(h, s)) s.

    The score of a query h and a source position s is, by `kind`,

        general    s . W h                      (Luong et al., 2015)
        dot        s . h                        (Luong et al., 2015; requires K = H)
        mlp        v . tanh(W_h h + W_s s)      (Bahdanau et al., 2015)

    All maps are linear. Only W_h has a bias.

    Args:
        query_size: H.
        source_size: K.
        kind: one of `ATTENTION_TYPES`.

    Raises:
        ValueError: `kind` is unknown, or it is `dot` and K != H.
    """

    def __init__(self, query_size: int, source_size: int, kind: str = "general") -> None:
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
        self.kind = kind
        if kind == "general":
            self.query_proj = Linear(query_size, source_size, bias=False)
        elif kind == "mlp":
            self.query_proj = Linear(query_size, query_size)
            self.source_proj = Linear(source_size, query_size, bias=False)
            self.score = Linear(query_size, 1, bias=False)
        self.output_proj = Linear(source_size + query_size, query_size, bias=False)

    def keys(self, values: Tensor) -> Tensor | None:
        """The keys, if they differ from the values.

        The keys depend on the source only, so compute them once for all queries.

        Args:
            values: the source, B x S x K.

        Returns:
            W_s s, B x S x H, for `mlp`, else None.
        """
        keys: Tensor | None = self.source_proj(values) if self.kind == "mlp" else None
        return keys

    def forward(
        self, query: Tensor, values: Tensor, keys: Tensor | None, padding_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attend from each query.

        Args:
            query: T x B x H.
            values: the source, B x S x K; should be contiguous, because products copy it otherwise.
            keys: the result of `keys(values)`.
            padding_mask: True at source padding, S x B.

        Returns:
            The attentional output, T x B x H, and the attention weights, B x T x S.
        """
        keys = values if keys is None else keys
        scores = self._scores(query.transpose(0, 1), keys)  # B x T x S
        scores = scores.masked_fill(padding_mask.t().unsqueeze(1), float("-inf"))
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).type_as(scores)
        context = torch.bmm(weights, values.type_as(weights)).transpose(0, 1)
        return torch.tanh(self.output_proj(torch.cat((context, query), dim=-1))), weights

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        if self.kind == "mlp":
            hidden = torch.tanh(self.query_proj(query).unsqueeze(2) + keys.unsqueeze(1))
            return self.score(hidden).squeeze(-1)  # from B x T x S x H
        query = self.query_proj(query) if self.kind == "general" else query
        return torch.bmm(query, keys.type_as(query).transpose(1, 2))
