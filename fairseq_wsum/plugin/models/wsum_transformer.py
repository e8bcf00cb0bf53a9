"""`--arch wsum_transformer`: fairseq's Transformer with recurrent layers for self-attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerModelBase
from fairseq.tasks import FairseqTask
from torch import nn

from ..modules.dropout import use_dropout
from ..modules.self_attention import WsumSelfAttention
from .options import check_task
from .presets import default, use_preset
from .recurrent_options import RecurrentLayers, recurrent_layers
from .wsum_transformer_config import WsumTransformerConfig, read_config
from .wsum_transformer_layers import WsumTransformerDecoder, WsumTransformerEncoder


@register_model("wsum_transformer", dataclass=WsumTransformerConfig)
class WsumTransformerModel(TransformerModelBase):
    """A Transformer (Vaswani et al., 2017) whose self-attention is a recurrent layer.

    Layer normalisation, feed-forward layers, residual connections and attention over the source are
    fairseq's. The weighted sum of the memory cell (Levy et al., ACL 2018) takes the place of
    self-attention: in two directions in the encoder, in one in the decoder.
    """

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """Add the options of the dataclass, as fairseq does for its other models."""
        super(TransformerModelBase, cls).add_args(parser)

    @classmethod
    def build_model(cls, args: Any, task: FairseqTask) -> WsumTransformerModel:
        """Build the model that `args` (a dataclass, `DictConfig` or `Namespace`) describes.

        Raises:
            ValueError: an option is invalid, or options are incompatible; the message names them.
        """
        check_task(task, "wsum_transformer")
        cfg = read_config(args)
        model: WsumTransformerModel = super().build_model(cfg, task)
        use_dropout(model)
        return model

    @classmethod
    def build_encoder(
        cls, cfg: Any, src_dict: Dictionary, embed_tokens: nn.Embedding
    ) -> WsumTransformerEncoder:
        return WsumTransformerEncoder(cfg, src_dict, embed_tokens)

    @classmethod
    def build_decoder(
        cls, cfg: Any, tgt_dict: Dictionary, embed_tokens: nn.Embedding
    ) -> WsumTransformerDecoder:
        return WsumTransformerDecoder(
            cfg, tgt_dict, embed_tokens, no_encoder_attn=cfg.no_cross_attention
        )


@register_model_architecture("wsum_transformer", "wsum_transformer_multi30k")
def wsum_transformer_multi30k(args: Any) -> None:
    """A model for Multi30k as large as Transformer-tiny (Wu et al., 2021), for every cell.

    Transformer-tiny has 4 + 4 layers of width 128 with a feed-forward width of 256. Here the
    feed-forward width compensates for the difference in parameters between a recurrent layer and
    self-attention, and cells with products with h_{t-1} have half the hidden size.
    """
    use_preset(args, "wsum_transformer_multi30k", dropout=0.3, share_all_embeddings=True)
    default(args, encoder_embed_dim=128, encoder_layers=4, decoder_layers=4)
    default(args, encoder_attention_heads=4, decoder_attention_heads=4)
    default(args, decoder_embed_dim=args.encoder_embed_dim)
    for side in ("encoder", "decoder"):
        recurrent = recurrent_layers(WsumTransformerConfig.read(args), side, default_size=1)
        width = getattr(args, f"{side}_embed_dim")
        ffn_width = 2 * width
        if len(recurrent.attention_layers) < recurrent.layers:
            # with a matrix for h_{t-1} too, a layer of full size would have twice the parameters
            matrices = 2 if recurrent.cell.has_recurrent_matrix else 1
            directions = 2 if recurrent.bidirectional else 1
            size = max(width // directions // matrices, 1)
            default(args, **{f"{side}_hidden_size": size})
            recurrent = replace(recurrent, hidden_size=getattr(args, f"{side}_hidden_size"))
            ffn_width = _ffn_width(recurrent, width)
        default(args, **{f"{side}_ffn_embed_dim": ffn_width})


def _ffn_width(recurrent: RecurrentLayers, width: int) -> int:
    """The feed-forward width with which the layers have as many parameters as Transformer-tiny's.

    Args:
        recurrent: the recurrent layers of a side.
        width: the width of the model, E.
    """
    with torch.device("meta"):
        layer = WsumSelfAttention(
            width,
            recurrent.hidden_size,
            cell=recurrent.cell,
            bidirectional=recurrent.bidirectional,
        )
    attention = 4 * (width + 1) * width
    surplus = sum(map(torch.numel, layer.parameters())) - attention
    # of the layers without attention
    share = 1 - len(recurrent.attention_layers) / recurrent.layers
    unit = 2 * width + 1  # the parameters of one unit of the feed-forward layer
    return max(2 * width - 8 * round(surplus * share / unit / 8), 8)
