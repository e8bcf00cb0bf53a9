"""The options of `--arch wsum_lstm`: those of fairseq's `lstm`, and those of the cells."""

from dataclasses import dataclass
from typing import Any, Optional

from omegaconf import II

from ..modules.attention import ATTENTIONS
from .fields import option, probability, size
from .options import (
    FALSE,
    TRUE,
    LSTMOptions,
    Side,
    cell_option,
)

# fairseq needs `Optional[X]` here: see options.py
# ruff: noqa: UP045


def _dropout_in_option(side: str) -> Any:
    return probability(
        None,
        f"dropout probability for {side} input embedding (default: 0; in wsum_lstm_multi30k "
        "--dropout)",
    )


def _layer_dropout_option(side: str) -> Any:
    return probability(None, f"dropout probability between {side} layers")


@dataclass
class WsumLSTMConfig(LSTMOptions):
    """The options. The defaults are those of the model in OpenNMT's README of 2018.

    That model has 2 + 2 layers of 500 units with input feeding. A default of None means that the
    value depends on other options: see `encoder`, `decoder` and `out_embed_dim`.
    """

    encoder_cell: Optional[str] = cell_option(None, "cell of the encoder (default: --cell)")
    decoder_cell: Optional[str] = cell_option(None, "cell of the decoder (default: --cell)")
    dropout: float = probability(
        0.3,
        "dropout probability between layers and on the decoder's output; embeddings and the "
        "encoder's output have separate options",
    )
    encoder_embed_dim: int = size(500, "encoder embedding dimension")
    encoder_embed_path: Optional[str] = option(None, "path to pre-trained encoder embedding")
    encoder_freeze_embed: bool = option(False, "freeze encoder embeddings")
    encoder_hidden_size: Optional[int] = size(
        None, "encoder hidden size per direction (default: --encoder-embed-dim)"
    )
    encoder_layers: int = size(2, "number of encoder layers")
    encoder_bidirectional: bool = option(False, "make all encoder layers bidirectional")
    encoder_dropout_in: Optional[float] = _dropout_in_option("encoder")
    encoder_dropout_out: Optional[float] = probability(
        None,
        "dropout probability for encoder output (default: 0; in wsum_lstm_multi30k --dropout) and, "
        "unless --encoder-layer-dropout is given, between encoder layers (default: --dropout)",
    )
    encoder_layer_dropout: Optional[float] = _layer_dropout_option("encoder")

    decoder_embed_dim: int = size(500, "decoder embedding dimension")
    decoder_layers: int = size(2, "number of decoder layers")
    decoder_out_embed_dim: Optional[int] = size(
        None,
        "decoder output embedding dimension (default: --decoder-embed-dim if the output embedding "
        "is shared, else --decoder-hidden-size)",
    )
    decoder_attention: str = option(
        "general",
        "decoder attention: general, dot, mlp or none (fairseq's BOOL works too: true is general, "
        "false is none). Without input feeding, mlp stores a number for each target word, source "
        "word and unit, which is large",
        one_of=lambda: (*ATTENTIONS, "none", *TRUE, *FALSE),
        any_case=True,
    )
    decoder_attention_heads: int = size(
        1,
        "attention heads, for general. With several heads, queries, keys and values are projected "
        "as in a Transformer",
    )
    decoder_input_feeding: str = option(
        "True",
        "BOOL: feed the attentional output into the next step. Without it, training is faster, "
        "because the LSTM processes the whole target at once",
        one_of=lambda: (*TRUE, *FALSE),
        any_case=True,
    )
    decoder_dropout_in: Optional[float] = _dropout_in_option("decoder")
    decoder_layer_dropout: Optional[float] = _layer_dropout_option("decoder")

    share_all_embeddings: bool = option(
        False,
        "share encoder, decoder and output embeddings (requires a shared dictionary and equal "
        "embedding dimensions)",
    )
    # not an option of the model: the task provides the value
    max_source_positions: Optional[int] = II("oc.select:task.max_source_positions,null")

    @property
    def attention(self) -> Optional[str]:
        """The kind of attention, or None."""
        value = str(self.decoder_attention).lower()
        if value in (*FALSE, "none"):
            return None
        return "general" if value in TRUE else value

    @property
    def input_feeding(self) -> bool:
        """Whether the attentional output is fed into the next step."""
        return str(self.decoder_input_feeding).lower() in TRUE

    @property
    def encoder(self) -> Side:
        """The encoder's options, with all defaults resolved."""
        return self.side("encoder", dropout_in=0.0, dropout_out=0.0)

    @property
    def decoder(self) -> Side:
        """The decoder's options, with all defaults resolved."""
        return self.side("decoder", dropout_in=0.0, dropout_out=self.dropout)

    @property
    def features(self) -> int:
        """Number of features of a position before the output layer."""
        return self.decoder.hidden_size


def read_config(args: Any) -> WsumLSTMConfig:
    """`WsumLSTMConfig.read`, and what depends on several options.

    Raises:
        ValueError: an option is invalid, or options are incompatible; the message names them.
    """
    cfg = WsumLSTMConfig.read(args)
    if cfg.share_all_embeddings:
        if cfg.decoder_embed_path and cfg.decoder_embed_path != cfg.encoder_embed_path:
            raise ValueError(
                f"--decoder-embed-path {cfg.decoder_embed_path} with --share-all-embeddings: give "
                "this file as --encoder-embed-path"
            )
        if cfg.encoder_embed_dim != cfg.decoder_embed_dim:
            raise ValueError(
                f"--share-all-embeddings requires --encoder-embed-dim {cfg.encoder_embed_dim} to "
                f"match --decoder-embed-dim {cfg.decoder_embed_dim}"
            )
    cfg.check_sharing()
    _check_attention(cfg)
    return cfg


def _check_attention(cfg: WsumLSTMConfig) -> None:
    heads, size = cfg.decoder_attention_heads, cfg.decoder.hidden_size
    encoder, decoder = cfg.encoder.cell, cfg.decoder.cell
    if cfg.attention is None and not decoder.carries_h and not encoder.has_memory:
        raise ValueError(
            f"--decoder-attention {cfg.decoder_attention}: a decoder with {decoder.name} starts "
            f"from the encoder's memory cell, and {encoder.name} has none, so that it would read "
            "nothing of the source; give an attention, or another cell"
        )
    encoder_units = cfg.encoder.hidden_size * (2 if cfg.encoder_bidirectional else 1)
    if cfg.attention == "dot" and encoder_units != size:
        raise ValueError(
            f"--decoder-attention dot needs an encoder output size ({encoder_units}, summed over "
            f"directions) equal to --decoder-hidden-size ({size}): make them equal or use general"
        )
    if heads > 1 and cfg.attention != "general":
        raise ValueError(
            f"--decoder-attention-heads {heads} with --decoder-attention {cfg.decoder_attention}: "
            "only general can have several heads"
        )
    if size % heads:
        raise ValueError(
            f"--decoder-attention-heads {heads} does not divide --decoder-hidden-size {size}: "
            "give a divisor"
        )
