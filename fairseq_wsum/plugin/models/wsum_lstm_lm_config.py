"""The options of `--arch wsum_lstm_lm`: those of fairseq's `lstm_lm`, and those of the cells."""

from dataclasses import dataclass, field
from typing import Any, Optional

from .checks import check_options, check_sharing
from .options import FALSE, LSTMOptions, Side, described_cell, first, flag, option_values

# fairseq needs `Optional[X]` here: see options.py
# ruff: noqa: UP045


@dataclass
class WsumLSTMLMConfig(LSTMOptions):
    """The options.

    The defaults are those of fairseq's `lstm_lm`, except that biases start at zero and the output
    embedding is as large as the last layer.

    A default of None means that the value depends on other options: see `decoder` and
    `out_embed_dim`.
    """

    dropout: float = field(
        default=0.1,
        metadata={"help": "dropout probability for embeddings, between layers and on the output"},
    )
    init_range: float = field(
        default=0.1,
        metadata={
            "help": "draw all weights uniformly from [-R, R]; biases start at zero. minlstm and "
            "sru keep the initial values that they prescribe"
        },
    )
    locked_dropout: bool = field(
        default=False,
        metadata={
            "help": "drop the same features at every time step of a sample (variational dropout)"
        },
    )
    embedding_dropout: float = field(
        default=0.0,
        metadata={
            "help": "probability that a word of the vocabulary is dropped: its input embedding is "
            "zero at all positions of a batch"
        },
    )
    weight_dropout: float = field(
        default=0.0,
        metadata={
            "help": "dropout probability for the elements of the recurrent matrices, once per "
            "batch (DropConnect); for cells with products with h_{t-1}"
        },
    )
    activation_regularization: float = field(
        default=0.0,
        metadata={
            "help": "weight of the mean square of the last layer's output after dropout, added to "
            "the loss of each token (AR); needs --criterion wsum_cross_entropy"
        },
    )
    temporal_activation_regularization: float = field(
        default=0.0,
        metadata={
            "help": "weight of the mean square of the change of the last layer's output from one "
            "time step to the next, added to the loss of each token (TAR); needs "
            "--criterion wsum_cross_entropy"
        },
    )
    decoder_embed_dim: int = field(default=512, metadata={"help": "decoder embedding dimension"})
    decoder_proj_size: int = field(
        default=0,
        metadata={"help": "project each layer's output to this many features; 0: no projection"},
    )
    decoder_layers: int = field(default=1, metadata={"help": "number of decoder layers"})
    decoder_out_embed_dim: Optional[int] = field(
        default=None,
        metadata={
            "help": "decoder output embedding dimension (default: --decoder-embed-dim if the "
            "output embedding is shared, else the size of the last layer's output)"
        },
    )
    decoder_attention: str = field(
        default="0",
        metadata={"help": "BOOL: must be False, because a language model has no attention"},
    )
    decoder_dropout_in: Optional[float] = field(
        default=None,
        metadata={"help": "dropout probability for decoder input embedding (default: --dropout)"},
    )
    decoder_layer_dropout: Optional[float] = field(
        default=None, metadata={"help": "dropout probability between decoder layers"}
    )

    @property
    def decoder(self) -> Side:
        """The options of the layers, with all defaults resolved."""
        dropout_out = first(self.decoder_dropout_out, self.dropout)
        return Side(
            cell=described_cell(self, self.cell),
            embed_dim=self.decoder_embed_dim,
            hidden_size=first(self.decoder_hidden_size, self.decoder_embed_dim),
            layers=self.decoder_layers,
            dropout_in=first(self.decoder_dropout_in, self.dropout),
            dropout_out=dropout_out,
            layer_dropout=first(self.decoder_layer_dropout, dropout_out),
        )

    @property
    def features(self) -> int:
        """Number of features of a layer's output."""
        return self.decoder_proj_size or self.decoder.hidden_size

    @property
    def shares_output(self) -> bool:
        """Whether the output embedding is the input embedding."""
        # an adaptive softmax has its own embeddings
        return self.share_decoder_input_output_embed and self.cutoffs is None

    @property
    def out_embed_dim(self) -> int:
        """The size of the output embedding."""
        own = self.decoder_embed_dim if self.shares_output else self.features
        return first(self.decoder_out_embed_dim, own)


def read_config(args: Any) -> WsumLSTMLMConfig:
    """Read and check the configuration that fairseq passes to `build_model`.

    Args:
        args: a `WsumLSTMLMConfig`, its `DictConfig`, or a `Namespace` that may lack options.

    Raises:
        ValueError: an option is invalid, or options are incompatible; the message names them.
    """
    cfg = WsumLSTMLMConfig(**option_values(WsumLSTMLMConfig, args))
    sizes = ("embed_dim", "hidden_size", "layers", "out_embed_dim")
    check_options(cfg, cell_options=("cell",), sizes=[f"decoder_{size}" for size in sizes])
    hidden_size = cfg.decoder.hidden_size
    if not 0 <= cfg.decoder_proj_size < hidden_size:
        raise ValueError(
            f"--decoder-proj-size {cfg.decoder_proj_size}: give 0 (no projection) or less than "
            f"--decoder-hidden-size {hidden_size}"
        )
    if cfg.decoder_proj_size and not cfg.decoder.cell.can_project:
        raise ValueError(
            f"--decoder-proj-size {cfg.decoder_proj_size}: cell {cfg.cell} cannot have a "
            "projection; use 0, the default"
        )
    if cfg.weight_dropout and not cfg.decoder.cell.has_recurrent_matrix:
        raise ValueError(
            f"--weight-dropout {cfg.weight_dropout}: cell {cfg.cell} has no recurrent matrices; "
            "use 0, the default, or a cell that has them, such as lstm"
        )
    _check_penalties(cfg)
    if cfg.shares_output:
        check_sharing(
            decoder_embed_dim=cfg.decoder_embed_dim, decoder_out_embed_dim=cfg.out_embed_dim
        )
    if str(cfg.decoder_attention).lower() not in (*FALSE, "none"):
        raise ValueError(
            f"--decoder-attention {cfg.decoder_attention}: a language model has no source to "
            "attend to; omit this option"
        )
    return cfg


def _check_penalties(cfg: WsumLSTMLMConfig) -> None:
    """Check the options that add a penalty to the loss, which other criteria would leave out."""
    for option in ("activation_regularization", "temporal_activation_regularization"):
        weight = getattr(cfg, option)
        if not weight >= 0:
            raise ValueError(f"{flag(option)} {weight}: give a number that is not negative")
        if weight and cfg.criterion_name not in (None, "wsum_cross_entropy"):
            raise ValueError(
                f"{flag(option)} {weight}: --criterion {cfg.criterion_name} does not add it to the "
                "loss; use --criterion wsum_cross_entropy, or 0, the default"
            )
