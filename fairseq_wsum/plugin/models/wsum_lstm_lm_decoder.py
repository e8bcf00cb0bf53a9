"""The decoder of `wsum_lstm_lm`.

Shapes: T positions, B sequences, P features of a layer's output, H hidden units, L layers, V words.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fairseq.data import Dictionary
from torch import Tensor, nn

from ...layer import WsumLSTM
from ..modules.activation_penalty import activation_penalty
from ..modules.dropout import Dropout, EmbeddingDropout, LockedDropout, WeightDropout
from ..modules.states import CarriedState, IncrementalState, StateCache, zero_state
from .wsum_lstm_decoder_base import WsumDecoderBase
from .wsum_lstm_lm_config import WsumLSTMLMConfig

Extra = dict[str, Tensor]


class WsumLMDecoder(StateCache, WsumDecoderBase):
    """Embeddings, a stack of LSTMs and the output layer.

    Dropout follows Zaremba et al. (2014). It is applied to the embeddings and to the outputs that
    each layer passes to the next layer or to the output layer, but not to recurrent connections.
    Dropout of words and of recurrent weights, and the penalties on the activations, are those of
    Merity et al. (2018).

    Args:
        cfg: the options, checked by `read_config`.
        dictionary: the words of the text.
        embed_tokens: their embeddings.
    """

    def __init__(
        self, cfg: WsumLSTMLMConfig, dictionary: Dictionary, embed_tokens: nn.Embedding
    ) -> None:
        kind: Any = LockedDropout if cfg.locked_dropout else Dropout
        name = type(self).__name__
        make_dropout = partial(kind, module_name=name)
        side = cfg.decoder
        super().__init__(
            cfg,
            dictionary,
            embed_tokens,
            dropout_module=make_dropout(side.dropout_out),
        )
        self.dropout_in_module = make_dropout(side.dropout_in)
        self.embedding_dropout_module = EmbeddingDropout(cfg.embedding_dropout, name)
        self.weight_dropout_module = WeightDropout(cfg.weight_dropout, name)
        self.penalties = (cfg.activation_regularization, cfg.temporal_activation_regularization)
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

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: None = None,
        incremental_state: IncrementalState | None = None,
        src_lengths: Tensor | None = None,
        carried_state: CarriedState | None = None,
    ) -> tuple[Tensor, Extra | None]:
        """Features for the next token at every position; `forward` returns their logits.

        Args:
            prev_output_tokens: B x T, padded on the right. If `incremental_state` holds the state
                of the earlier tokens, only the last token is read.
            encoder_out, src_lengths: unused arguments of fairseq's interface.
            incremental_state: fairseq's state for step-by-step decoding.
            carried_state: provides the initial state and stores the final state.

        Returns:
            The input of `output_layer`, B x T x features, and None; in training with penalties on
            the activations, a dictionary with their sum as `penalty`.
        """
        state = self.cached_state(incremental_state)
        if state is not None:
            prev_output_tokens = prev_output_tokens[:, -1:]
        elif carried_state is not None:
            state = carried_state.take(self)
        x = self.embedding_dropout_module(self.embed_tokens, prev_output_tokens)
        x = self.dropout_in_module(x.transpose(0, 1))
        if state is None:
            state = zero_state(self.lstm, x)
        y, state = self.weight_dropout_module(self.lstm, x, state)
        if carried_state is not None:
            carried_state.leave(self, state)
        self.cache_state(incremental_state, state)
        dropped = self.dropout_out_module(y)
        extra: Extra | None = None
        if self.training and any(self.penalties):
            unpadded = prev_output_tokens.ne(self.padding_idx).t()
            extra = {"penalty": activation_penalty(y, dropped, unpadded, *self.penalties)}
        return self.project(dropped).transpose(0, 1), extra
