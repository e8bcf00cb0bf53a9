"""The decoder of `--arch wsum_transformer_lm`."""

from typing import Any

import torch
from fairseq.models import FairseqDecoder
from torch import Tensor

from ..modules.self_attention import WsumSelfAttention
from ..modules.states import CarriedState
from .options import first
from .wsum_transformer_layers import WsumTransformerDecoder


class WsumTransformerLMDecoder(WsumTransformerDecoder):
    """A decoder without attention over a source, which can continue from an earlier state.

    Its layers hold the carried state during a call, so only one thread at a time may carry a state
    through a model.
    """

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        # `modules()`, as iterating over `self.layers` itself skips layers with layer drop
        modules = self.layers.modules()
        self._recurrent = tuple(
            module for module in modules if isinstance(module, WsumSelfAttention)
        )

    # fairseq's Transformer passes no further arguments, such as `carried_state`
    forward = FairseqDecoder.forward

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: None = None,
        *args: Any,
        src_lengths: Tensor | None = None,
        carried_state: CarriedState | None = None,
        **named: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """fairseq's `extract_features`.

        Args:
            prev_output_tokens: B x T.
            encoder_out, args, named: fairseq's further arguments.
            src_lengths: unused argument of fairseq's interface.
            carried_state: provides the initial state and stores the final state. The state of all
                layers together is L x B x H for h and c, with L layers.
        """
        before = None if carried_state is None else carried_state.take(self)
        for k, layer in enumerate(self._recurrent):
            state = None if before is None else tuple(part[k : k + 1] for part in before)
            layer.carry(state, keep_final=carried_state is not None)
        features = super().extract_features(prev_output_tokens, encoder_out, *args, **named)
        if carried_state is not None:
            self._leave(carried_state)
        return features

    def _leave(self, carried_state: CarriedState) -> None:
        states = [(one.state_after, one.state_before) for one in self._recurrent]
        like = next((state for pair in states for state in pair if state is not None), None)
        if like is None:  # layer drop has left out all layers so far
            return
        zero = tuple(torch.zeros_like(part) for part in like)
        after = [first(*state, zero) for state in states]
        carried_state.leave(self, tuple(torch.cat(parts) for parts in zip(*after, strict=True)))
