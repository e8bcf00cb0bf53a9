"""Transformer encoders and decoders with recurrent layers in place of self-attention."""

from __future__ import annotations

from typing import Any

from fairseq.distributed import fsdp_wrap
from fairseq.models.transformer import TransformerDecoderBase, TransformerEncoderBase
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from fairseq.modules.transformer_layer import (
    TransformerDecoderLayerBase,
    TransformerEncoderLayerBase,
)
from torch import Tensor, nn

from ...products import ForFewRows, linear
from ..modules.self_attention import WsumSelfAttention
from ..modules.source_attention import SourceAttention
from .dictionaries import remember_words
from .recurrent_options import RecurrentLayers


class WsumTransformerEncoderLayer(TransformerEncoderLayerBase):
    """fairseq's encoder layer with a recurrent layer in two directions."""

    def build_self_attention(self, embed_dim: int, cfg: Any) -> WsumSelfAttention:
        return _recurrent_layer(embed_dim, cfg.encoder, cfg)


class WsumTransformerDecoderLayer(TransformerDecoderLayerBase):
    """fairseq's decoder layer with a recurrent layer."""

    def build_self_attention(
        self, embed_dim: int, cfg: Any, add_bias_kv: bool = False, add_zero_attn: bool = False
    ) -> WsumSelfAttention:
        return _recurrent_layer(embed_dim, cfg.decoder, cfg)

    def build_encoder_attention(self, embed_dim: int, cfg: Any) -> SourceAttention:
        return SourceAttention(
            embed_dim,
            cfg.decoder.attention_heads,
            kdim=cfg.encoder.embed_dim,
            vdim=cfg.encoder.embed_dim,
            dropout=cfg.attention_dropout,
            encoder_decoder_attention=True,
            q_noise=self.quant_noise,
            qn_block_size=self.quant_noise_block_size,
            xformers_att_config=cfg.encoder.xformers_att_config,
        )


class WsumTransformerEncoder(TransformerEncoderBase):
    """fairseq's encoder with recurrent layers in all layers but those that keep self-attention."""

    def __init__(self, *args: Any, **named: Any) -> None:
        self.built = 0  # number of layers so far
        super().__init__(*args, **named)
        remember_words(self)

    def build_encoder_layer(self, cfg: Any) -> nn.Module:
        keeps_attention = self.built in cfg.encoder.recurrent.attention_layers
        self.built += 1
        kind = TransformerEncoderLayerBase if keeps_attention else WsumTransformerEncoderLayer
        return _wrapped(kind(cfg, return_fc=self.return_fc), cfg)


class WsumTransformerDecoder(TransformerDecoderBase):
    """fairseq's decoder with recurrent layers in all layers but those that keep self-attention."""

    def __init__(self, cfg: Any, *args: Any, **named: Any) -> None:
        self.built = 0
        super().__init__(cfg, *args, **named)
        remember_words(self)
        if self.adaptive_softmax is not None:
            # fairseq's upgrade_state_dict_named would add an output matrix, which this model lacks
            self.share_input_output_embed = False
        self._copy: ForFewRows | None = None  # of the output matrix, in decoding
        self._keeps_attention = bool(cfg.decoder.recurrent.attention_layers)

    def output_layer(self, features: Tensor) -> Tensor:
        """fairseq's output layer, computed by `products.linear`."""
        if self.adaptive_softmax is not None:
            return features
        return linear(self.output_projection, features, self._copy)

    def make_generation_fast_(self, **unused: object) -> None:
        """fairseq's hook before decoding."""
        if self.adaptive_softmax is None:
            self._copy = ForFewRows(self.output_projection.weight)

    def buffered_future_mask(self, tensor: Tensor) -> Tensor | None:
        """fairseq's mask of later positions, T x T, or None if no layer has self-attention."""
        return super().buffered_future_mask(tensor) if self._keeps_attention else None

    def build_decoder_layer(self, cfg: Any, no_encoder_attn: bool = False) -> nn.Module:
        keeps_attention = self.built in cfg.decoder.recurrent.attention_layers
        self.built += 1
        kind = TransformerDecoderLayerBase if keeps_attention else WsumTransformerDecoderLayer
        return _wrapped(kind(cfg, no_encoder_attn), cfg)


def _recurrent_layer(embed_dim: int, side: Any, cfg: Any) -> WsumSelfAttention:
    recurrent: RecurrentLayers = side.recurrent
    return WsumSelfAttention(
        embed_dim,
        recurrent.hidden_size,
        cell=recurrent.cell,
        bidirectional=recurrent.bidirectional,
        num_heads=side.attention_heads,
        backend=recurrent.backend,
        q_noise=cfg.quant_noise.pq,
        qn_block_size=cfg.quant_noise.pq_block_size,
    )


def _wrapped(layer: nn.Module, cfg: Any) -> nn.Module:
    """Apply --checkpoint-activations and sharding to a layer, as fairseq does."""
    checkpoint = cfg.checkpoint_activations
    if checkpoint:
        layer = checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
    return fsdp_wrap(layer, min_num_params=0 if checkpoint else cfg.min_params_to_wrap)
