"""The options of `--arch wsum_lstm`: those of fairseq's `lstm`, and what the ablations add."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass
from omegaconf import II
from omegaconf.errors import InterpolationResolutionError

from ..ablation import ABLATIONS
from ..backends import BACKEND_CHOICES
from ..modules import ATTENTION_TYPES

# fairseq's dataclass machinery reads the annotations as types: hence no `int | None` here, and no
# `from __future__ import annotations`.
# ruff: noqa: UP045

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")
_CELLS = ", ".join(ABLATIONS)


@dataclass
class WsumLSTMConfig(FairseqDataclass):
    """Defaults are OpenNMT's readme model of 2018: 2 + 2 layers of 500, input feeding.

    Where a default is None the value follows from other options: see `resolve`.
    """

    ablation: str = field(default="lstm", metadata={"help": f"what is left of the LSTM: {_CELLS}"})
    encoder_ablation: Optional[str] = field(
        default=None, metadata={"help": "ablation of the encoder (default: --ablation)"}
    )
    decoder_ablation: Optional[str] = field(
        default=None, metadata={"help": "ablation of the decoder (default: --ablation)"}
    )
    coupled_gates: bool = field(
        default=False, metadata={"help": "couple the gates of every cell: f = 1 - i"}
    )
    lstm_backend: str = field(
        default="auto", metadata={"help": f"what computes the LSTM: {', '.join(BACKEND_CHOICES)}"}
    )
    dropout: float = field(
        default=0.3,
        metadata={
            "help": "dropout probability between layers and on the decoder's output; for "
            "embeddings and the encoder's output see the options of their own"
        },
    )
    residuals: bool = field(
        default=False,
        metadata={"help": "add each LSTM layer's input to its output, from the second layer on"},
    )
    init_range: float = field(
        default=0.1, metadata={"help": "draw all parameters uniformly from [-R, R]"}
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
        metadata={"help": "dropout probability for encoder input embedding (default: 0)"},
    )
    encoder_dropout_out: Optional[float] = field(
        default=None,
        metadata={
            "help": "dropout probability for encoder output (default: 0) and, unless "
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
            "true is general, false is none)"
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
        metadata={"help": "dropout probability for decoder input embedding (default: 0)"},
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

    share_decoder_input_output_embed: bool = field(
        default=False, metadata={"help": "share decoder input and output embeddings"}
    )
    share_all_embeddings: bool = field(
        default=False,
        metadata={
            "help": "share encoder, decoder and output embeddings"
            " (requires shared dictionary and embed dim)"
        },
    )
    adaptive_softmax_cutoff: Optional[str] = field(
        default="10000,50000,200000",
        metadata={
            "help": "comma separated list of adaptive softmax cutoff points. "
            "Used with the adaptive_loss criterion only"
        },
    )
    # no help text, and so no option: it takes the value of fairseq's --criterion
    criterion_name: Optional[str] = II("criterion._name")

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

    @property
    def cutoffs(self) -> Optional[list[int]]:
        """Cutoffs of the adaptive softmax, or None where the softmax is a plain one."""
        if self.criterion_name != "adaptive_loss":
            return None
        try:
            return [int(cutoff) for cutoff in str(self.adaptive_softmax_cutoff).split(",")]
        except ValueError:
            raise ValueError(
                f"--adaptive-softmax-cutoff {self.adaptive_softmax_cutoff}: give whole numbers "
                "with commas between them, such as 2000,10000"
            ) from None


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
    given = replace(WsumLSTMConfig(), **_given_values(args))
    values = {f.name: getattr(given, f.name) for f in fields(given)}

    def default(option: str, value: Any) -> None:
        if values[option] is None:
            values[option] = value

    default("encoder_ablation", given.ablation)
    default("decoder_ablation", given.ablation)
    default("encoder_hidden_size", given.encoder_embed_dim)
    default("decoder_hidden_size", given.decoder_embed_dim)
    # an adaptive softmax has output embeddings of its own: then "all" are those of the inputs
    if given.share_all_embeddings and given.cutoffs is None:
        values["share_decoder_input_output_embed"] = True
    shared = values["share_decoder_input_output_embed"]
    default("decoder_out_embed_dim", values[f"decoder_{'embed_dim' if shared else 'hidden_size'}"])

    default("encoder_layer_dropout", given.encoder_dropout_out)
    default("encoder_layer_dropout", given.dropout)
    default("encoder_dropout_out", 0.0)
    default("encoder_dropout_in", 0.0)
    default("decoder_dropout_out", given.dropout)
    default("decoder_layer_dropout", values["decoder_dropout_out"])
    default("decoder_dropout_in", 0.0)

    cfg = ResolvedConfig(**values)
    _check(cfg)
    return cfg


def _given_values(args: Any) -> dict[str, Any]:
    """The options that `args` has."""
    values = {}
    for option in fields(WsumLSTMConfig):
        if option.name == "_name":  # fairseq's, of the architecture
            continue
        try:
            values[option.name] = getattr(args, option.name)
        except (AttributeError, InterpolationResolutionError):
            continue  # not there, or a reference to a part of the configuration that is not there
    if "criterion_name" not in values or str(values["criterion_name"]).startswith("${"):
        values["criterion_name"] = getattr(args, "criterion", None)  # of a plain Namespace
    return values


def _check(cfg: ResolvedConfig) -> None:
    for option in ("ablation", "encoder_ablation", "decoder_ablation"):
        if getattr(cfg, option) not in ABLATIONS:
            raise ValueError(f"{_flag(option)} {getattr(cfg, option)}: choose one of {_CELLS}")
    if cfg.coupled_gates:
        for option in ("encoder_ablation", "decoder_ablation"):
            if not ABLATIONS[getattr(cfg, option)].gates:
                raise ValueError(
                    f"--coupled-gates with {_flag(option)} {getattr(cfg, option)}: "
                    "there are no gates to couple; leave one of the two out"
                )
    for side in ("encoder", "decoder"):
        for option in (f"{side}_embed_dim", f"{side}_hidden_size", f"{side}_layers"):
            if getattr(cfg, option) < 1:
                raise ValueError(f"{_flag(option)} {getattr(cfg, option)}: give at least 1")
    if cfg.lstm_backend not in BACKEND_CHOICES:
        raise ValueError(
            f"--lstm-backend {cfg.lstm_backend}: choose one of {', '.join(BACKEND_CHOICES)}"
        )
    if cfg.init_range <= 0:
        raise ValueError(f"--init-range {cfg.init_range}: give a number larger than 0")
    _check_sharing(cfg)
    _check_attention(cfg)


def _check_sharing(cfg: ResolvedConfig) -> None:
    if cfg.share_all_embeddings:
        if cfg.decoder_embed_path and cfg.decoder_embed_path != cfg.encoder_embed_path:
            raise ValueError(
                "--share-all-embeddings is not compatible with a --decoder-embed-path of its own"
            )
        if cfg.encoder_embed_dim != cfg.decoder_embed_dim:
            raise ValueError(
                f"--share-all-embeddings requires --encoder-embed-dim {cfg.encoder_embed_dim} to "
                f"match --decoder-embed-dim {cfg.decoder_embed_dim}"
            )
    if cfg.share_decoder_input_output_embed:
        if cfg.cutoffs is not None:
            raise ValueError(
                "--share-decoder-input-output-embed does not go with --criterion adaptive_loss: "
                "the adaptive softmax has output embeddings of its own"
            )
        if cfg.decoder_embed_dim != cfg.decoder_out_embed_dim:
            raise ValueError(
                f"sharing the output embedding requires --decoder-embed-dim "
                f"{cfg.decoder_embed_dim} to match --decoder-out-embed-dim "
                f"{cfg.decoder_out_embed_dim}"
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


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")
