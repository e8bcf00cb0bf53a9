"""A Transformer's attention to the source, whose steps of decoding are computed by a C++ kernel.

Shapes: B sources, N hypotheses, N / B of each source, S source positions, E features, G heads of D
features.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor

from ... import kernels
from ...products import linear
from ...transforms import in_autocast
from .states import IncrementalState


class _Attention(ctypes.Structure):
    """The struct `Attention` of csrc/kernels.h."""

    _fields_ = kernels.fields(
        "B R S G D", "is_bf16 threads", ("q", "k", "v", "mask", "y", "weights")
    )


def attend(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """softmax(q k) v by head, for tensors that `kernels.accepts`.

    Args:
        q: the queries times 1 / sqrt(D), N x E.
        keys: contiguous, B x G x D x S.
        values: contiguous, B x G x S x D.
        mask: not zero at padding, B x S.

    Returns:
        The contexts, N x E, and the weights, N x G x S, in float32.
    """
    sources, heads, size, length = keys.shape
    assert q.dtype == keys.dtype == values.dtype and values.shape == (sources, heads, length, size)
    assert mask is None or mask.shape == (sources, length)
    y = torch.empty_like(q, memory_format=torch.contiguous_format)
    weights = q.new_empty(len(q), heads, length, dtype=torch.float32)
    numbers = dict(B=sources, R=len(q) // sources, S=length, G=heads, D=size)
    mask = None if mask is None else mask.float()
    arrays = dict(q=q, k=keys, v=values, mask=mask, y=y, weights=weights)
    kernels.call("attention", _Attention, q, numbers, arrays)
    return y, weights


class SourceAttention(MultiheadAttention):
    """fairseq's attention of a decoder to the encoder's output, faster in decoding on the CPU."""

    def forward(
        self,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        key_padding_mask: Tensor | None = None,
        incremental_state: IncrementalState | None = None,
        need_weights: bool = True,
        static_kv: bool = False,
        attn_mask: Tensor | None = None,
        before_softmax: bool = False,
        need_head_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As in fairseq: T x N x E -> T x N x E and the weights, N x T x S or G x N x T x S."""
        cached = self._get_input_buffer(incremental_state) if static_kv else {}
        plain = attn_mask is None and not before_softmax
        if plain and "prev_key" in cached and self._has_kernel(query, cached["prev_key"]):
            return self._step(query, cached, need_weights, need_head_weights)
        return super().forward(
            query,
            key,
            value,
            key_padding_mask,
            incremental_state,
            need_weights,
            static_kv,
            attn_mask,
            before_softmax,
            need_head_weights,
        )

    def _has_kernel(self, query: Tensor, keys: Tensor) -> bool:
        dropout = self.dropout_module
        return (
            query.size(0) == 1
            and query.dtype == keys.dtype
            and not (torch.is_grad_enabled() or torch.compiler.is_compiling())
            and not (dropout.p > 0 and (dropout.training or dropout.apply_during_inference))
            and kernels.accepts(query)
            and not in_autocast(query.device)
        )

    def _step(
        self, query: Tensor, cached: dict[str, Any], need_weights: bool, need_head_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        # copied at the first step, and when sentences have ended; fairseq has both as B x G x S x D
        keys = cached["prev_key"].transpose(2, 3).contiguous()
        values = cached["prev_value"].contiguous()
        cached |= {"prev_key": keys.transpose(2, 3), "prev_value": values}
        q = linear(self.q_proj, query[0]) * self.scaling
        mask = cached.get("prev_key_padding_mask")
        context, weights = attend(q, keys, values, mask)
        y = linear(self.out_proj, context).unsqueeze(0)
        if not (need_weights or need_head_weights):
            return y, None
        by_head = weights.transpose(0, 1).unsqueeze(2).type_as(y)
        return y, by_head if need_head_weights else by_head.mean(0)
