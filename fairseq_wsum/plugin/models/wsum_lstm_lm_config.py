"""The options of `--arch wsum_lstm_lm`: those of fairseq's `lstm_lm`, and those of the cells."""

from dataclasses import dataclass
from typing import Any, Optional

from .fields import flag, option, probability, size
from .options import (
    FALSE,
    LSTMOptions,
    Side,
)

# fairseq needs `Optional[X]` here: see options.py
# ruff: noqa: UP045

_PENALTIES = ("activation_regularization", "temporal_activation_regularization")


@dataclass
class WsumLSTMLMConfig(LSTMOptions):
    """The options.

    The defaults are those of fairseq's `lstm_lm`, except that biases start at zero and the output
    embedding is as large as the last layer.

    A default of None means that the value depends on other options: see `decoder` and
    `out_embed_dim`.
    """

    dropout: float = probability(
        0.1, "dropout probability for embeddings, between layers and on the output"
    )
    init_range: float = option(
        0.1,
        "draw all weights uniformly from [-R, R]; biases start at zero. minlstm and sru keep the "
        "initial values that they prescribe",
    )
    locked_dropout: bool = option(
        False, "drop the same features at every time step of a sample (variational dropout)"
    )
    embedding_dropout: float = probability(
        0.0,
        "probability that a word of the vocabulary is dropped: its input embedding is zero at all "
        "positions of a batch",
    )
    weight_dropout: float = probability(
        0.0,
        "dropout probability for the elements of the recurrent matrices, once per batch "
        "(DropConnect); for cells with products with h_{t-1}",
    )
    activation_regularization: float = option(
        0.0,
        "weight of the mean square of the last layer's output after dropout, added to the loss of "
        "each token (AR); needs --criterion wsum_cross_entropy",
        at_least=0,
    )
    temporal_activation_regularization: float = option(
        0.0,
        "weight of the mean square of the change of the last layer's output from one time step to "
        "the next, added to the loss of each token (TAR); needs --criterion wsum_cross_entropy",
        at_least=0,
    )
    decoder_embed_dim: int = size(512, "decoder embedding dimension")
    decoder_proj_size: int = option(
        0, "project each layer's output to this many features; 0: no projection", at_least=0
    )
    decoder_layers: int = size(1, "number of decoder layers")
    decoder_out_embed_dim: Optional[int] = size(
        None,
        "decoder output embedding dimension (default: --decoder-embed-dim if the output embedding "
        "is shared, else the size of the last layer's output)",
    )
    decoder_attention: str = option(
        "0",
        "BOOL: must be False, because a language model has no attention",
        one_of=lambda: (*FALSE, "none"),
        any_case=True,
        cure=", as a language model has no source to attend to",
    )
    decoder_dropout_in: Optional[float] = probability(
        None, "dropout probability for decoder input embedding (default: --dropout)"
    )
    decoder_layer_dropout: Optional[float] = probability(
        None, "dropout probability between decoder layers"
    )

    @property
    def decoder(self) -> Side:
        """The options of the layers, with all defaults resolved."""
        return self.side("decoder", dropout_in=self.dropout, dropout_out=self.dropout)

    @property
    def features(self) -> int:
        """Number of features of a layer's output."""
        return self.decoder_proj_size or self.decoder.hidden_size


def read_config(args: Any) -> WsumLSTMLMConfig:
    """`WsumLSTMLMConfig.read`, and what depends on several options.

    Raises:
        ValueError: an option is invalid, or options are incompatible; the message names them.
    """
    cfg = WsumLSTMLMConfig.read(args)
    if cfg.weight_dropout and not cfg.decoder.cell.has_recurrent_matrix:
        raise ValueError(
            f"--weight-dropout {cfg.weight_dropout}: cell {cfg.cell} has no recurrent matrices; "
            "use 0, the default, or a cell that has them, such as lstm"
        )
    for name in _PENALTIES:  # which other criteria would leave out
        if getattr(cfg, name) and cfg.criterion_name not in (None, "wsum_cross_entropy"):
            raise ValueError(
                f"{flag(name)} {getattr(cfg, name)}: --criterion {cfg.criterion_name} does not add "
                "it to the loss; use --criterion wsum_cross_entropy, or 0, the default"
            )
    cfg.check_sharing()
    return cfg
