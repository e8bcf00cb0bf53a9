"""The encoder of `wsum_lstm`.

Shapes: S source positions, B sentences, E embedding, H hidden units, D directions, L layers.
"""

from __future__ import annotations

from typing import NamedTuple

from fairseq.data import Dictionary
from fairseq.models import FairseqEncoder
from torch import Tensor, nn

from ...layer import WsumLSTM
from ..modules.dropout import Dropout
from .dictionaries import remember_words
from .options import MAX_POSITIONS
from .wsum_lstm_config import WsumLSTMConfig


class EncoderOut(NamedTuple):
    """The outputs of the encoder, in the order of fairseq's LSTM encoder."""

    x: Tensor  # outputs, S x B x D*H
    hiddens: Tensor  # final h of each layer, L x B x D*H
    cells: Tensor  # final c of each layer, L x B x D*H
    padding_mask: Tensor  # True at padding, S x B


class WsumLSTMEncoder(FairseqEncoder):
    """Embeddings and a stack of unidirectional or bidirectional LSTMs.

    The outputs keep the positions of `src_tokens`, which is padded on the left by default. So the
    attention weights refer to the positions of the batch.

    Args:
        cfg: the options, checked by `read_config`.
        dictionary: the words of the source.
        embed_tokens: their embeddings, E features each.
    """

    def __init__(
        self, cfg: WsumLSTMConfig, dictionary: Dictionary, embed_tokens: nn.Embedding
    ) -> None:
        super().__init__(dictionary)
        name = type(self).__name__
        side = cfg.encoder
        self.padding_idx = dictionary.pad()
        self.embed_tokens = embed_tokens
        self.dropout_in_module = Dropout(side.dropout_in, module_name=name)
        self.dropout_out_module = Dropout(side.dropout_out, module_name=name)
        self.lstm = WsumLSTM(
            side.embed_dim,
            side.hidden_size,
            side.layers,
            dropout=Dropout(side.layer_dropout, module_name=name),
            bidirectional=cfg.encoder_bidirectional,
            residuals=cfg.residuals,
            cell=side.cell,
            backend=cfg.lstm_backend,
        )
        self.output_units = self.lstm.output_size * self.lstm.num_directions
        self.position_limit = cfg.max_source_positions or MAX_POSITIONS
        remember_words(self)

    def forward(
        self, src_tokens: Tensor, src_lengths: Tensor | None = None, enforce_sorted: bool = True
    ) -> EncoderOut:
        """Encode a batch.

        Args:
            src_tokens: B x S, with padding on either side.
            src_lengths, enforce_sorted: unused arguments of fairseq's interface; the padding in
                `src_tokens` determines the lengths.
        """
        padding_mask = src_tokens.eq(self.padding_idx).t()  # S x B
        x = self.dropout_in_module(self.embed_tokens(src_tokens)).transpose(0, 1)
        mask = padding_mask if padding_mask.any() else None
        x, state = self.lstm(x, padding_mask=mask)
        hiddens, cells = (self._join_directions(part) for part in state[:2])
        if self.lstm.cell.hidden_is_memory:
            cells = hiddens  # the decoder's c starts from the memory, too, whatever its cell is
        return EncoderOut(self.dropout_out_module(x), hiddens, cells, padding_mask)

    def _join_directions(self, state: Tensor) -> Tensor:
        """L*D x B x H -> L x B x D*H."""
        directions = state.unflatten(0, (-1, self.lstm.num_directions))  # L x D x B x H
        return directions.transpose(1, 2).flatten(2)

    def reorder_encoder_out(self, encoder_out: EncoderOut, new_order: Tensor) -> EncoderOut:
        """Select the sentences `new_order`. In all four parts the batch is the second dimension.

        The selected outputs are stored batch first, which is the order in which attention reads
        them. Otherwise every step of the decoder would copy them.
        """
        x, *others = encoder_out
        x = x.transpose(0, 1).index_select(0, new_order).transpose(0, 1)
        return EncoderOut(x, *(part.index_select(1, new_order) for part in others))

    def max_positions(self) -> int:
        return self.position_limit
