"""The options of `--arch wsum_lstm`: those of fairseq's `lstm`, and what the ablations add."""

from dataclasses import dataclass, field
from typing import Any, Optional

from omegaconf import II

from ..ablation import ABLATIONS
from ..modules import ATTENTION_TYPES
from .options import LSTMOptions, check_options, check_sharing, default, option_values

# as in options.py
# ruff: noqa: UP045

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


@dataclass
class WsumLSTMConfig(LSTMOptions):
    """Defaults are OpenNMT's readme model of 2018: 2 + 2 layers of 500, input feeding.

    Where a default is None the value follows from other options: see `resolve`.
    """

    encoder_ablation: Optional[str] = field(
        default=None, metadata={"help": "ablation of the encoder (default: --ablation)"}
    )
    decoder_ablation: Optional[str] = field(
        default=None, metadata={"help": "ablation of the decoder (default: --ablation)"}
    )
    dropout: float = field(
        default=0.3,
        metadata={
            "help": "dropout probability between layers and on the decoder's output; for "
            "embeddings and the encoder's output see the options of their own"
        },
    )
    encoder_embed_dim: int = field(default=500, metadata={"help": "encoder embedding dimension"})
    encoder_embed_path: Optional[str] = field(
        default=None, metadata={"help": "path to pre-trained encoder embedding"}
    )
    encoder_freeze_embed: bool = field(
        default=False, metadata={"help": "freeze encoder embeddings"}
    )
    encoder_hidden_size: Optional[int] = field(
        default=None,
        metadata={"help": "encoder hidden size, of each direction (default: --encoder-embed-dim)"},
    )
    encoder_layers: int = field(default=2, metadata={"help": "number of encoder layers"})
    encoder_bidirectional: bool = field(
        default=False, metadata={"help": "make all layers of encoder bidirectional"}
    )
    encoder_dropout_in: Optional[float] = field(
        default=None,
        metadata={
            "help": "dropout probability for encoder input embedding (default: 0; in "
            "wsum_lstm_multi30k --dropout)"
        },
    )
    encoder_dropout_out: Optional[float] = field(
        default=None,
        metadata={
            "help": "dropout probability for encoder output (default: 0; in wsum_lstm_multi30k "
            "--dropout) and, unless "
            "--encoder-layer-dropout is given, between encoder layers (default: --dropout)"
        },
    )
    encoder_layer_dropout: Optional[float] = field(
        default=None, metadata={"help": "dropout probability between encoder layers"}
    )

    decoder_embed_dim: int = field(default=500, metadata={"help": "decoder embedding dimension"})
    decoder_embed_path: Optional[str] = field(
        default=None, metadata={"help": "path to pre-trained decoder embedding"}
    )
    decoder_freeze_embed: bool = field(
        default=False, metadata={"help": "freeze decoder embeddings"}
    )
    decoder_hidden_size: Optional[int] = field(
        default=None, metadata={"help": "decoder hidden size (default: --decoder-embed-dim)"}
    )
    decoder_layers: int = field(default=2, metadata={"help": "number of decoder layers"})
    decoder_out_embed_dim: Optional[int] = field(
        default=None,
        metadata={
            "help": "decoder output embedding dimension (default: --decoder-embed-dim where "
            "the output embedding is shared, else --decoder-hidden-size)"
        },
    )
    decoder_attention: str = field(
        default="general",
        metadata={
            "help": "decoder attention: general, dot, mlp or none (fairseq's BOOL works too: "
            "true is general, false is none). Without input feeding mlp needs much memory: a "
            "number for each target word, source word and unit"
        },
    )
    decoder_input_feeding: str = field(
        default="True",
        metadata={
            "help": "BOOL: feed the attentional output into the next step. Without it the whole "
            "target runs through the LSTM at once in training"
        },
    )
    decoder_dropout_in: Optional[float] = field(
        default=None,
        metadata={
            "help": "dropout probability for decoder input embedding (default: 0; in "
            "wsum_lstm_multi30k --dropout)"
        },
    )
    decoder_dropout_out: Optional[float] = field(
        default=None,
        metadata={
            "help": "dropout probability for decoder output and, unless --decoder-layer-dropout "
            "is given, between decoder layers (default: --dropout)"
        },
    )
    decoder_layer_dropout: Optional[float] = field(
        default=None, metadata={"help": "dropout probability between decoder layers"}
    )

    share_all_embeddings: bool = field(
        default=False,
        metadata={
            "help": "share encoder, decoder and output embeddings"
            " (requires shared dictionary and embed dim)"
        },
    )
    # no option of the model's: the value is the task's
    max_source_positions: Optional[int] = II("task.max_source_positions")

    @property
    def attention(self) -> Optional[str]:
        """The kind of attention, or None."""
        value = str(self.decoder_attention).lower()
        if value in _TRUE:
            return "general"
        if value in (*_FALSE, "none"):
            return None
        if value not in ATTENTION_TYPES:
            raise ValueError(
                f"--decoder-attention {self.decoder_attention}: choose one of "
                f"{', '.join(ATTENTION_TYPES)} or none"
            )
        return value

    @property
    def input_feeding(self) -> bool:
        """Whether the attentional output is fed into the next step."""
        value = str(self.decoder_input_feeding).lower()
        if value not in _TRUE + _FALSE:
            raise ValueError(
                f"--decoder-input-feeding {self.decoder_input_feeding}: give True or False"
            )
        return value in _TRUE


@dataclass
class ResolvedConfig(WsumLSTMConfig):
    """A configuration in which every option has its value."""

    encoder_ablation: str = "lstm"
    encoder_hidden_size: int = 500
    encoder_dropout_in: float = 0.0
    encoder_dropout_out: float = 0.0
    encoder_layer_dropout: float = 0.3
    decoder_ablation: str = "lstm"
    decoder_hidden_size: int = 500
    decoder_out_embed_dim: int = 500
    decoder_dropout_in: float = 0.0
    decoder_dropout_out: float = 0.3
    decoder_layer_dropout: float = 0.3


def resolve(args: Any) -> ResolvedConfig:
    """A complete configuration from what fairseq hands to `build_model`.

    Args:
        args: a `WsumLSTMConfig`, its `DictConfig`, or a `Namespace` that may lack options.

    Raises:
        ValueError: options that do not fit together; the message names them.
    """
    given = WsumLSTMConfig(**option_values(WsumLSTMConfig, args))
    cfg = ResolvedConfig(**vars(given))  # what was not given is still None
    default(cfg, encoder_ablation=cfg.ablation, decoder_ablation=cfg.ablation)
    default(cfg, encoder_hidden_size=cfg.encoder_embed_dim)
    default(cfg, decoder_hidden_size=cfg.decoder_embed_dim)
    wanted = cfg.share_decoder_input_output_embed or cfg.share_all_embeddings
    # an adaptive softmax has output embeddings of its own, which nothing shares
    shared = cfg.share_decoder_input_output_embed = wanted and cfg.cutoffs is None
    default(cfg, decoder_out_embed_dim=cfg.decoder_embed_dim if shared else cfg.decoder_hidden_size)

    default(cfg, encoder_layer_dropout=given.encoder_dropout_out)
    default(cfg, encoder_layer_dropout=cfg.dropout)
    default(cfg, encoder_dropout_out=0.0, encoder_dropout_in=0.0)
    default(cfg, decoder_dropout_out=cfg.dropout, decoder_dropout_in=0.0)
    default(cfg, decoder_layer_dropout=cfg.decoder_dropout_out)
    _check(cfg)
    return cfg


def _check(cfg: ResolvedConfig) -> None:
    check_options(
        cfg,
        ablations=("encoder_ablation", "decoder_ablation"),
        sizes=[
            *(f"encoder_{size}" for size in ("embed_dim", "hidden_size", "layers")),
            *(
                f"decoder_{size}"
                for size in ("embed_dim", "hidden_size", "layers", "out_embed_dim")
            ),
        ],
    )
    if cfg.share_all_embeddings:
        _check_sharing_all(cfg)
    check_sharing(cfg, cfg.decoder_embed_dim, cfg.decoder_out_embed_dim)
    _check_attention(cfg)


def _check_sharing_all(cfg: ResolvedConfig) -> None:
    if cfg.decoder_embed_path and cfg.decoder_embed_path != cfg.encoder_embed_path:
        raise ValueError(
            "--share-all-embeddings is not compatible with a --decoder-embed-path of its own"
        )
    if cfg.encoder_embed_dim != cfg.decoder_embed_dim:
        raise ValueError(
            f"--share-all-embeddings requires --encoder-embed-dim {cfg.encoder_embed_dim} to "
            f"match --decoder-embed-dim {cfg.decoder_embed_dim}"
        )


def _check_attention(cfg: ResolvedConfig) -> None:
    encoder_units = cfg.encoder_hidden_size * (2 if cfg.encoder_bidirectional else 1)
    if cfg.attention == "dot" and encoder_units != cfg.decoder_hidden_size:
        raise ValueError(
            f"--decoder-attention dot needs as many encoder units ({encoder_units}, both "
            f"directions together) as --decoder-hidden-size ({cfg.decoder_hidden_size}): "
            "make them equal or use general"
        )
    _ = cfg.input_feeding  # raises if it is not a BOOL
    encoder, decoder = ABLATIONS[cfg.encoder_ablation], ABLATIONS[cfg.decoder_ablation]
    if cfg.attention is None and not decoder.is_recurrent and not encoder.gates:
        raise ValueError(
            f"--decoder-attention none with --encoder-ablation {encoder.name} and "
            f"--decoder-ablation {decoder.name}: the decoder would know nothing of the source, as "
            "the encoder has no memory cell to hand over and the decoder reads nothing else; use "
            "attention or another cell"
        )
