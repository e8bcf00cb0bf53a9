"""The options of `--arch wsum_lstm_lm`: those of fairseq's `lstm_lm`, and what the cells add."""

from dataclasses import dataclass, field
from typing import Any, Optional

from .options import LSTMOptions, check_options, check_sharing, default, option_values

# as in options.py
# ruff: noqa: UP045


@dataclass
class WsumLSTMLMConfig(LSTMOptions):
    """Defaults are those of fairseq's `lstm_lm`, whose biases start from ±0.1, though.

    Where a default is None the value follows from other options: see `resolve`.
    """

    dropout: float = field(
        default=0.1,
        metadata={"help": "dropout probability for embeddings, between layers and on the output"},
    )
    init_range: float = field(
        default=0.1,
        metadata={"help": "draw all weights uniformly from [-R, R]; biases start from zero"},
    )
    locked_dropout: bool = field(
        default=False,
        metadata={
            "help": "drop the same features at every time step of a sample (variational dropout)"
        },
    )
    decoder_embed_dim: int = field(default=512, metadata={"help": "decoder embedding dimension"})
    decoder_embed_path: Optional[str] = field(
        default=None, metadata={"help": "path to pre-trained decoder embedding"}
    )
    decoder_freeze_embed: bool = field(
        default=False, metadata={"help": "freeze decoder embeddings"}
    )
    decoder_hidden_size: Optional[int] = field(
        default=None, metadata={"help": "decoder hidden size (default: --decoder-embed-dim)"}
    )
    decoder_proj_size: int = field(
        default=0,
        metadata={"help": "project each layer's output to so many features; 0: do not (default)"},
    )
    decoder_layers: int = field(default=1, metadata={"help": "number of decoder layers"})
    decoder_out_embed_dim: Optional[int] = field(
        default=None,
        metadata={
            "help": "decoder output embedding dimension (default: --decoder-embed-dim where "
            "the output embedding is shared, else that of the last layer's output)"
        },
    )
    decoder_attention: str = field(
        default="0",
        metadata={"help": "BOOL: a language model has nothing to attend to, only False will do"},
    )
    decoder_dropout_in: Optional[float] = field(
        default=None,
        metadata={"help": "dropout probability for decoder input embedding (default: --dropout)"},
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


@dataclass
class ResolvedLMConfig(WsumLSTMLMConfig):
    """A configuration in which every option has its value."""

    decoder_hidden_size: int = 512
    decoder_out_embed_dim: int = 512
    decoder_dropout_in: float = 0.1
    decoder_dropout_out: float = 0.1
    decoder_layer_dropout: float = 0.1

    @property
    def features(self) -> int:
        """Features of a layer's output."""
        return self.decoder_proj_size or self.decoder_hidden_size


def resolve(args: Any) -> ResolvedLMConfig:
    """A complete configuration from what fairseq hands to `build_model`.

    Args:
        args: a `WsumLSTMLMConfig`, its `DictConfig`, or a `Namespace` that may lack options.

    Raises:
        ValueError: options that do not fit together; the message names them.
    """
    given = WsumLSTMLMConfig(**option_values(WsumLSTMLMConfig, args))
    cfg = ResolvedLMConfig(**vars(given))  # what was not given is still None
    default(cfg, decoder_hidden_size=cfg.decoder_embed_dim)
    # an adaptive softmax has output embeddings of its own, which nothing shares
    cfg.share_decoder_input_output_embed &= cfg.cutoffs is None
    shared = cfg.share_decoder_input_output_embed
    default(cfg, decoder_out_embed_dim=cfg.decoder_embed_dim if shared else cfg.features)
    default(cfg, decoder_dropout_in=cfg.dropout, decoder_dropout_out=cfg.dropout)
    default(cfg, decoder_layer_dropout=cfg.decoder_dropout_out)
    _check(cfg)
    return cfg


def _check(cfg: ResolvedLMConfig) -> None:
    sizes = ("embed_dim", "hidden_size", "layers", "out_embed_dim")
    check_options(cfg, ablations=("ablation",), sizes=[f"decoder_{size}" for size in sizes])
    check_sharing(cfg, cfg.decoder_embed_dim, cfg.decoder_out_embed_dim)
    if not 0 <= cfg.decoder_proj_size < cfg.decoder_hidden_size:
        raise ValueError(
            f"--decoder-proj-size {cfg.decoder_proj_size}: give 0 (no projection) or less than "
            f"--decoder-hidden-size {cfg.decoder_hidden_size}"
        )
    if str(cfg.decoder_attention).lower() not in ("0", "false", "no", "off", "none"):
        raise ValueError(
            f"--decoder-attention {cfg.decoder_attention}: a language model has nothing to attend "
            "to; leave it out"
        )
