"""The decoder of `wsum_lstm`.

Shapes: S source and T target positions, B sentences, E embedding, H hidden units, L layers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from ...cells.precision import widened
from ...layer import State, WsumLSTM
from ...training.joint_gradient import joint_gradients
from ..modules.attention import Projected, make_attention
from ..modules.bridge import Bridge
from ..modules.dropout import Dropout
from ..modules.states import CACHED, IncrementalState, pack_state, reorder_state, unpack_state
from .wsum_lstm_config import WsumLSTMConfig
from .wsum_lstm_decoder_base import WsumDecoderBase
from .wsum_lstm_encoder import EncoderOut


class Step(NamedTuple):
    """The values that a decoding step takes over from the previous step."""

    state: State  # (h, c), each L x B x H; with a window of 2 also the last inputs
    feed: Tensor  # the attentional output to feed, B x H
    projected: Projected  # by the attention, from the source


class WsumLSTMDecoder(WsumDecoderBase):
    """Embeddings, a stack of LSTMs, attention and the output layer.

    With input feeding (Luong et al., 2015) the attentional output of a step is part of the next
    step's input, so this class loops over time. Without it, the LSTM runs over the whole target at
    once, and attention follows.

    Args:
        cfg: the options, checked by `read_config`.
        dictionary: the words of the target.
        embed_tokens: their embeddings.
        encoder_output_units: the features of the encoder's output and of its states.
    """

    def __init__(
        self,
        cfg: WsumLSTMConfig,
        dictionary: Dictionary,
        embed_tokens: nn.Embedding,
        encoder_output_units: int,
    ) -> None:
        name = type(self).__name__
        side = cfg.decoder
        super().__init__(
            cfg,
            dictionary,
            embed_tokens,
            dropout_module=Dropout(side.dropout_out, module_name=name),
        )
        self.hidden_size = side.hidden_size
        self.num_layers = side.layers
        self.input_feeding = cfg.input_feeding
        self.need_attn = True
        self.dropout_in_module = Dropout(side.dropout_in, module_name=name)
        self.lstm = WsumLSTM(
            side.embed_dim + (side.hidden_size if self.input_feeding else 0),
            side.hidden_size,
            side.layers,
            dropout=Dropout(side.layer_dropout, module_name=name),
            residuals=cfg.residuals,
            cell=side.cell,
            backend=cfg.lstm_backend,
        )
        self._add_bridges(cfg, encoder_output_units)
        sizes = (self.hidden_size, encoder_output_units)
        self.attention = (
            make_attention(cfg.attention, *sizes, heads=cfg.decoder_attention_heads)
            if cfg.attention is not None
            else None
        )

    def _add_bridges(self, cfg: WsumLSTMConfig, encoder_output_units: int) -> None:
        """Add a bridge for each state that the encoder has and the decoder reads."""
        encoder, decoder = cfg.encoder.cell, cfg.decoder.cell
        shapes = (cfg.encoder.layers, encoder_output_units, self.num_layers, self.hidden_size)
        self.hidden_bridge = Bridge(*shapes) if decoder.carries_h else None
        both = encoder.has_memory and decoder.carries_c
        self.cell_bridge = Bridge(*shapes) if both else None

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: EncoderOut,
        incremental_state: IncrementalState | None = None,
        src_lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Features for the next token at every target position; `forward` returns their logits.

        Args:
            prev_output_tokens: B x T. If `incremental_state` holds the state of the earlier tokens,
                only the last token is read.
            encoder_out: the output of the encoder.
            incremental_state: fairseq's state for step-by-step decoding.
            src_lengths: unused argument of fairseq's interface.

        Returns:
            The input of `output_layer`, B x T x features, and the attention weights, B x T x S.
            The weights are None in training, and if they are not needed.
        """
        encoder_out = EncoderOut(*encoder_out)
        step = self._cached_step(incremental_state)
        # padding on the right cannot affect earlier positions; padding on the left must be masked
        mask = None
        if step is not None:
            prev_output_tokens = prev_output_tokens[:, -1:]
        elif prev_output_tokens[:, 0].eq(self.padding_idx).any():
            mask = prev_output_tokens.eq(self.padding_idx).t()  # T x B

        x = self.dropout_in_module(self.embed_tokens(prev_output_tokens)).transpose(0, 1)
        source = encoder_out.x.transpose(0, 1)
        if self.attention is not None:
            source = source.contiguous()  # otherwise every product would copy it
        if step is None:
            step = self._first_step(encoder_out, source)
        attend = partial(self._attend, source, step.projected, encoder_out.padding_mask)
        if self.input_feeding:
            with joint_gradients():
                y, attn, state, feed = self._run_with_feeding(x, step, attend, mask)
        else:
            feed = step.feed
            y, state = self.lstm(x, step.state, mask)
            y, attn = attend(y)
        self._cache_step(incremental_state, Step(state, feed, step.projected))

        wanted = self.need_attn and not self.training
        return self.project(y).transpose(0, 1), attn if wanted else None

    def _run_with_feeding(
        self,
        x: Tensor,
        begin: Step,
        attend: Callable[[Tensor], tuple[Tensor, Tensor | None]],
        mask: Tensor | None,
    ) -> tuple[Tensor, Tensor | None, State, Tensor]:
        """Run step by step, because each step reads the previous step's attentional output."""
        state, feed = begin.state, begin.feed
        outputs: list[Tensor] = []
        attns: list[Tensor | None] = []
        for t, x_t in enumerate(x.split(1)):
            mask_t = None if mask is None else mask[t : t + 1]
            fed = torch.cat((x_t, feed.type_as(x).unsqueeze(0)), dim=-1)
            y, state = self.lstm(fed, state, mask_t)
            y, attn = attend(y)
            attended = y.squeeze(0)
            if mask_t is None:
                feed = attended
            else:
                feed = torch.where(mask_t[0].unsqueeze(-1), feed, attended)
            outputs.append(y)
            attns.append(attn)
        attn = torch.cat([a for a in attns if a is not None], dim=1) if self.attention else None
        return torch.cat(outputs), attn, state, feed

    def _attend(
        self, source: Tensor, projected: Projected, padding_mask: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The decoder's output, T x B x H, and the attention weights, B x T x S, if any."""
        attn = None
        if self.attention is not None:
            y, attn = self.attention(y, source, projected, padding_mask)
        return self.dropout_out_module(y), attn

    # The state between steps

    def _first_step(self, encoder_out: EncoderOut, source: Tensor) -> Step:
        batch = encoder_out.x.size(1)
        zeros = encoder_out.hiddens.new_zeros(self.num_layers, batch, self.hidden_size)
        h = zeros if self.hidden_bridge is None else self.hidden_bridge(encoder_out.hiddens)
        c = zeros if self.cell_bridge is None else self.cell_bridge(encoder_out.cells)
        projected = self.attention.project(source) if self.attention else Projected(None, None)
        return Step((h, widened(c)), zeros[0], projected)

    def _cached_step(self, incremental_state: IncrementalState | None) -> Step | None:
        cached = self.get_incremental_state(incremental_state, CACHED)
        if cached is None:
            return None
        projected = Projected(cached["keys"], cached["values"])
        return Step(unpack_state(cached), cached["input_feed"], projected)

    def _cache_step(self, incremental_state: IncrementalState | None, step: Step) -> None:
        cached = {**pack_state(step.state), "input_feed": step.feed, **step.projected._asdict()}
        self.set_incremental_state(incremental_state, CACHED, cached)

    def reorder_incremental_state(
        self, incremental_state: IncrementalState, new_order: Tensor
    ) -> None:
        """Select the hypotheses `new_order`, for beam search."""
        step = self._cached_step(incremental_state)
        if step is not None:
            state = reorder_state(step.state, new_order)
            feed = step.feed.index_select(0, new_order)
            keys, values = (
                None if part is None else part.index_select(0, new_order) for part in step.projected
            )
            self._cache_step(incremental_state, Step(state, feed, Projected(keys, values)))

    def make_generation_fast_(self, need_attn: object = False, **unused: object) -> None:
        """fairseq's hook before decoding; `need_attn` says whether attention weights are needed."""
        super().make_generation_fast_()
        self.need_attn = bool(need_attn)
