"""`--arch wsum_lstm`: translation with ablated LSTMs."""

from __future__ import annotations

from typing import Any

from fairseq.models import (
    FairseqEncoderDecoderModel,
    register_model,
    register_model_architecture,
)
from fairseq.tasks import FairseqTask

from .initial_values import embedding, init_uniform, load_embedding
from .options import check_task
from .presets import default, use_preset
from .wsum_lstm_config import WsumLSTMConfig, read_config
from .wsum_lstm_decoder import WsumLSTMDecoder
from .wsum_lstm_encoder import WsumLSTMEncoder


@register_model("wsum_lstm", dataclass=WsumLSTMConfig)
class WsumLSTMModel(FairseqEncoderDecoderModel):
    """An encoder and a decoder of ablated LSTMs, with attention (Levy et al., ACL 2018)."""

    @classmethod
    def build_model(cls, args: Any, task: FairseqTask) -> WsumLSTMModel:
        """Build the model that `args` (a dataclass, `DictConfig` or `Namespace`) describes.

        Raises:
            ValueError: an option is invalid, or options are incompatible; the message names them.
        """
        check_task(task, "wsum_lstm")
        cfg = read_config(args)
        source, target = task.source_dictionary, task.target_dictionary
        if cfg.share_all_embeddings and source != target:
            raise ValueError(
                "--share-all-embeddings (part of --arch wsum_lstm_multi30k) requires a joined "
                "dictionary: prepare the data with fairseq-preprocess --joined-dictionary"
            )
        encoder_embed = embedding(source, cfg.encoder_embed_dim)
        decoder_embed = (
            encoder_embed if cfg.share_all_embeddings else embedding(target, cfg.decoder_embed_dim)
        )
        encoder = WsumLSTMEncoder(cfg, source, encoder_embed)
        decoder = WsumLSTMDecoder(cfg, target, decoder_embed, encoder.output_units)
        model = cls(encoder, decoder)

        init_uniform(model, cfg.init_range)
        load_embedding(cfg.encoder_embed_path, source, encoder_embed)
        if not cfg.share_all_embeddings:
            load_embedding(cfg.decoder_embed_path, target, decoder_embed)
        encoder_embed.weight.requires_grad_(not cfg.encoder_freeze_embed)
        if cfg.decoder_freeze_embed:
            decoder_embed.weight.requires_grad_(False)
        return model


@register_model_architecture("wsum_lstm", "wsum_lstm_multi30k")
def wsum_lstm_multi30k(args: Any) -> None:
    """A small, well-regularised model for Multi30k with joint BPE, used by the `strong` recipe."""
    use_preset(args, "wsum_lstm_multi30k", dropout=0.45, share_all_embeddings=True)
    default(args, encoder_embed_dim=384, encoder_layers=1, encoder_bidirectional=True)
    default(args, encoder_dropout_in=args.dropout, encoder_dropout_out=args.dropout)
    default(args, decoder_embed_dim=384, decoder_layers=1)
    default(args, decoder_dropout_in=args.dropout, decoder_dropout_out=args.dropout)
