"""The layers of an encoder or a decoder."""

from __future__ import annotations

from typing import Any

from ...layer import WsumLSTM
from ..modules import Dropout, LSTMBlocks
from .options import Side
from .wsum_lstm_config import WsumLSTMConfig


def make_layers(
    cfg: WsumLSTMConfig,
    side: Side,
    input_size: int,
    *,
    bidirectional: bool = False,
    module_name: str,
) -> WsumLSTM | LSTMBlocks:
    """The layers: a `WsumLSTM`, or `LSTMBlocks` with --layer-norm or feed-forward blocks.

    Args:
        cfg: the options of the model.
        side: the options of the encoder or the decoder.
        input_size: number of input features of the first layer.
        bidirectional: whether there are two directions.
        module_name: the name of the dropout in fairseq's --retain-dropout-modules.
    """
    dropout = Dropout(side.layer_dropout, module_name=module_name)
    sizes = (input_size, side.hidden_size, side.layers)
    options: dict[str, Any] = dict(
        bidirectional=bidirectional,
        residuals=cfg.residuals,
        cell=side.cell,
        backend=cfg.lstm_backend,
    )
    if not (cfg.layer_norm or side.ffn_embed_dim):
        return WsumLSTM(*sizes, dropout=dropout, **options)
    return LSTMBlocks(
        *sizes, dropout, layer_norm=cfg.layer_norm, ffn_size=side.ffn_embed_dim, **options
    )
