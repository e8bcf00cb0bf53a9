"""The decoder of `wsum_lstm_lm`.

Shapes: T positions, B sequences, P features of a layer's output, H hidden units, L layers, V words.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fairseq.data import Dictionary
from fairseq.modules import FairseqDropout
from torch import Tensor, nn

from ...layer import State, WsumLSTM
from ..modules import CarriedState
from .locked_dropout import LockedDropout
from .wsum_decoder_base import (
    IncrementalState,
    WsumDecoderBase,
    pack_state,
    unpack_state,
    widened,
)
from .wsum_lm_config import WsumLSTMLMConfig


class WsumLMDecoder(WsumDecoderBase):
    """Embeddings, a stack of LSTMs and the output layer.

    Dropout follows Zaremba et al. (2014). It is applied to the embeddings and to the outputs that
    each layer passes to the next layer or to the output layer, but not to recurrent connections.
    """

    def __init__(
        self, cfg: WsumLSTMLMConfig, dictionary: Dictionary, embed_tokens: nn.Embedding
    ) -> None:
        kind: Any = LockedDropout if cfg.locked_dropout else FairseqDropout
        make_dropout = partial(kind, module_name=type(self).__name__)
        side = cfg.decoder
        super().__init__(
            cfg,
            dictionary,
            embed_tokens,
            features=cfg.features,
            out_dim=cfg.out_embed_dim,
            shares_output=cfg.shares_output,
            dropout=side.dropout_out,
            dropout_module=make_dropout(side.dropout_out),
        )
        self.dropout_in_module = make_dropout(side.dropout_in)
        self.lstm = WsumLSTM(
            side.embed_dim,
            side.hidden_size,
            side.layers,
            dropout=make_dropout(side.layer_dropout),
            proj_size=cfg.decoder_proj_size,
            residuals=cfg.residuals,
            cell=side.cell,
            backend=cfg.lstm_backend,
        )
        self.state_sizes = (cfg.features, side.hidden_size)

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: None = None,
        incremental_state: IncrementalState | None = None,
        src_lengths: Tensor | None = None,
        carried_state: CarriedState | None = None,
    ) -> tuple[Tensor, None]:
        """Scores for the next token at every position.

        Args:
            prev_output_tokens: B x T, padded on the right. If `incremental_state` holds the state
                of the earlier tokens, only the last token is read.
            encoder_out, src_lengths: unused arguments of fairseq's interface.
            incremental_state: fairseq's state for step-by-step decoding.
            carried_state: provides the initial state and stores the final state.

        Returns:
            Logits, B x T x V (features with an adaptive softmax), and None.
        """
        x, extra = self.extract_features(
            prev_output_tokens, encoder_out, incremental_state, src_lengths, carried_state
        )
        return self.output_layer(x), extra

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: None = None,
        incremental_state: IncrementalState | None = None,
        src_lengths: Tensor | None = None,
        carried_state: CarriedState | None = None,
    ) -> tuple[Tensor, None]:
        """Like `forward`, but without the output layer."""
        state = self._cached_state(incremental_state)
        if state is not None:
            prev_output_tokens = prev_output_tokens[:, -1:]
        elif carried_state is not None:
            state = carried_state.take(self)
        x = self.dropout_in_module(self.embed_tokens(prev_output_tokens).transpose(0, 1))
        if state is None:
            state = self._zero_state(x)
        y, state = self.lstm(x, state)
        if carried_state is not None:
            carried_state.leave(self, state)
        self._cache_state(incremental_state, state)
        return self.project(self.dropout_out_module(y)).transpose(0, 1), None

    # State: (h, c), L x B x P and L x B x H, and with a window of 2 the last inputs

    def _zero_state(self, x: Tensor) -> State:
        h, c = (x.new_zeros(self.lstm.num_layers, x.size(1), size) for size in self.state_sizes)
        return h, widened(c)

    def _cached_state(self, incremental_state: IncrementalState | None) -> State | None:
        if incremental_state is None:
            return None
        cached = self.get_incremental_state(incremental_state, "cached_state")
        if cached is None:
            return None
        return unpack_state(cached)

    def _cache_state(self, incremental_state: IncrementalState | None, state: State) -> None:
        if incremental_state is not None:
            self.set_incremental_state(incremental_state, "cached_state", pack_state(state))

    def reorder_incremental_state(
        self, incremental_state: IncrementalState, new_order: Tensor
    ) -> None:
        """Select the hypotheses `new_order`, for beam search."""
        state = self._cached_state(incremental_state)
        if state is not None:
            state = tuple(part.index_select(1, new_order) for part in state)
            self._cache_state(incremental_state, state)
