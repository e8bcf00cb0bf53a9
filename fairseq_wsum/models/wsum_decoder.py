"""The decoder of `wsum_lstm`.

Shapes: S source and T target positions, B sentences, E embedding, H hidden units, L layers.
"""

from __future__ import annotations

from functools import partial

import torch
from fairseq.data import Dictionary
from fairseq.modules import FairseqDropout
from torch import Tensor, nn

from ..ablation import get_ablation
from ..layer import State, WsumLSTM
from ..modules import Attention, Bridge, LSTMStack
from ..products import linear
from .wsum_decoder_base import IncrementalState, WsumDecoderBase
from .wsum_encoder import EncoderOut
from .wsum_lstm_config import ResolvedConfig


class WsumLSTMDecoder(WsumDecoderBase):
    """Embeddings, a stack of LSTMs, attention and the output layer.

    With input feeding (Luong et al., 2015) the attentional output of a step is part of the next
    step's input, so there is a loop over time here. Without it, attention comes after the
    recurrence and the whole target runs through every layer at once.
    """

    def __init__(
        self,
        cfg: ResolvedConfig,
        dictionary: Dictionary,
        embed_tokens: nn.Embedding,
        encoder_output_units: int,
    ) -> None:
        name = type(self).__name__
        super().__init__(
            cfg,
            dictionary,
            embed_tokens,
            features=cfg.decoder_hidden_size,
            out_dim=cfg.decoder_out_embed_dim,
            dropout=cfg.decoder_dropout_out,
            dropout_module=FairseqDropout(cfg.decoder_dropout_out, module_name=name),
        )
        self.hidden_size = cfg.decoder_hidden_size
        self.num_layers = cfg.decoder_layers
        self.input_feeding = cfg.input_feeding
        self.need_attn = True
        self.dropout_in_module = FairseqDropout(cfg.decoder_dropout_in, module_name=name)
        self.lstm = LSTMStack(
            input_size=cfg.decoder_embed_dim + (self.hidden_size if self.input_feeding else 0),
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            make_layer=partial(
                WsumLSTM,
                ablation=cfg.decoder_ablation,
                coupled_gates=cfg.coupled_gates,
                backend=cfg.lstm_backend,
            ),
            dropout=FairseqDropout(cfg.decoder_layer_dropout, module_name=name),
            residuals=cfg.residuals,
        )
        self._add_bridges(cfg, encoder_output_units)
        self.attention = (
            Attention(self.hidden_size, encoder_output_units, cfg.attention)
            if cfg.attention is not None
            else None
        )

    def _add_bridges(self, cfg: ResolvedConfig, encoder_output_units: int) -> None:
        """One for each state that the encoder has and the decoder reads."""
        encoder = get_ablation(cfg.encoder_ablation)
        decoder = get_ablation(cfg.decoder_ablation)
        shapes = (cfg.encoder_layers, encoder_output_units, self.num_layers, self.hidden_size)
        self.hidden_bridge = Bridge(*shapes) if decoder.is_recurrent else None
        self.cell_bridge = Bridge(*shapes) if encoder.gates and decoder.gates else None

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: EncoderOut,
        incremental_state: IncrementalState | None = None,
        src_lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Scores for the next token at every target position.

        Args:
            prev_output_tokens: B x T; of these only the last is read where `incremental_state`
                holds the state of the ones before.
            encoder_out: what the encoder returned.
            incremental_state: fairseq's, for decoding step by step.
            src_lengths: unused, fairseq's.

        Returns:
            Logits, B x T x V (features, with an adaptive softmax), and the attention weights,
            B x T x S; None in training, and where they are not asked for.
        """
        x, attn = self.extract_features(prev_output_tokens, encoder_out, incremental_state)
        return self.output_layer(x), attn

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: EncoderOut,
        incremental_state: IncrementalState | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """As `forward`, before the output layer."""
        encoder_out = EncoderOut(*encoder_out)
        cached = self._cached_state(incremental_state)
        if cached is not None:
            prev_output_tokens = prev_output_tokens[:, -1:]
        # padding on the right cannot reach a real position; on the left it must not
        mask = None
        if cached is None and prev_output_tokens[:, 0].eq(self.padding_idx).any():
            mask = prev_output_tokens.eq(self.padding_idx).t()  # T x B

        x = self.dropout_in_module(self.embed_tokens(prev_output_tokens)).transpose(0, 1)
        state, feed = self._initial_state(encoder_out) if cached is None else cached
        if self.input_feeding:
            y, attn, state, feed = self._run_with_feeding(x, state, feed, encoder_out, mask)
        else:
            y, state = self.lstm(x, state, mask)
            y, attn = self._attend(y, encoder_out, self._prepare(encoder_out))
        self._cache_state(incremental_state, state, feed)

        wanted = self.need_attn and not self.training
        return self.project(y).transpose(0, 1), attn if wanted else None

    def _run_with_feeding(
        self,
        x: Tensor,
        state: State,
        feed: Tensor,
        encoder_out: EncoderOut,
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor | None, State, Tensor]:
        """Step by step, as each step reads the attentional output of the last."""
        prepared = self._prepare(encoder_out)
        first = self.lstm.layers[0]
        assert isinstance(first, WsumLSTM)
        (w_x, w_feed), bias = first.input_maps(x.size(-1), feed.size(-1))
        z = linear(x, w_x, bias)  # T x B x R*H: all that does not wait for a step
        outputs: list[Tensor] = []
        attns: list[Tensor | None] = []
        for t, z_t in enumerate(z.split(1)):
            mask_t = None if mask is None else mask[t : t + 1]
            z_t = z_t + linear(feed.type_as(x), w_feed)
            y, state = self.lstm(z_t, state, mask_t, from_products=True)
            y, attn = self._attend(y, encoder_out, prepared)
            feed = y[0] if mask_t is None else torch.where(mask_t[0].unsqueeze(-1), feed, y[0])
            outputs.append(y)
            attns.append(attn)
        attn = torch.cat([a for a in attns if a is not None], dim=1) if self.attention else None
        return torch.cat(outputs), attn, state, feed

    def _prepare(self, encoder_out: EncoderOut) -> tuple[Tensor, Tensor] | None:
        """The keys and values of attention, where there is attention."""
        return None if self.attention is None else self.attention.prepare(encoder_out.x)

    def _attend(
        self, y: Tensor, encoder_out: EncoderOut, prepared: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor | None]:
        """T x B x H -> the decoder's output T x B x H, and attention B x T x S where there is."""
        attn = None
        if self.attention is not None and prepared is not None:
            y, attn = self.attention(y, *prepared, encoder_out.padding_mask)
        return self.dropout_out_module(y), attn

    # State: (h, c), each L x B x H, and the attentional output to feed, B x H

    def _initial_state(self, encoder_out: EncoderOut) -> tuple[State, Tensor]:
        batch = encoder_out.x.size(1)
        zeros = encoder_out.hiddens.new_zeros(self.num_layers, batch, self.hidden_size)
        h = zeros if self.hidden_bridge is None else self.hidden_bridge(encoder_out.hiddens)
        c = zeros if self.cell_bridge is None else self.cell_bridge(encoder_out.cells)
        # the sum goes on from call to call in decoding: in 16 bits it would lose what is added late
        return (h, c.to(torch.promote_types(c.dtype, torch.float32))), zeros[0]

    def _cached_state(
        self, incremental_state: IncrementalState | None
    ) -> tuple[State, Tensor] | None:
        if incremental_state is None:
            return None
        cached = self.get_incremental_state(incremental_state, "cached_state")
        if cached is None:
            return None
        return (cached["prev_hiddens"], cached["prev_cells"]), cached["input_feed"]

    def _cache_state(
        self, incremental_state: IncrementalState | None, state: State, feed: Tensor
    ) -> None:
        if incremental_state is not None:
            cached = {"prev_hiddens": state[0], "prev_cells": state[1], "input_feed": feed}
            self.set_incremental_state(incremental_state, "cached_state", cached)

    def reorder_incremental_state(
        self, incremental_state: IncrementalState, new_order: Tensor
    ) -> None:
        """Beam search: go on from the hypotheses `new_order`."""
        cached = self._cached_state(incremental_state)
        if cached is not None:
            (h, c), feed = cached
            state = h.index_select(1, new_order), c.index_select(1, new_order)
            self._cache_state(incremental_state, state, feed.index_select(0, new_order))

    def make_generation_fast_(self, need_attn: object = False, **unused: object) -> None:
        """fairseq's hook before decoding: whether (or how) attention weights will be printed."""
        self.need_attn = bool(need_attn)
