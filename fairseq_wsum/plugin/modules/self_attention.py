"""A recurrent layer in place of a Transformer's self-attention.

Shapes: T positions, B sequences, E features of the model, H hidden units, D directions.
"""

from __future__ import annotations

from fairseq.modules.quant_noise import quant_noise
from torch import Tensor, nn

from ...cells import Cell
from ...layer import State, WsumLSTM
from ...products import linear
from .states import IncrementalState, StateCache, pack_state, zero_state


class WsumSelfAttention(StateCache, nn.Module):
    """`WsumLSTM` and a linear map, with the interface of fairseq's `MultiheadAttention`.

    Self-attention gives each position a weighted sum over all positions, with weights from a
    softmax. Here the weights are products of gates (Levy et al., ACL 2018):

        y = W_out [h forward ; h backward] + b_out,    h = WsumLSTM(x)

    A decoder has one direction. To decode the next position it needs the state of the previous one,
    whose size does not depend on the number of positions.

    Args:
        embed_dim: E.
        hidden_size: H, per direction.
        cell: the cell.
        bidirectional: whether there are two directions, as in an encoder.
        num_heads: the number of attention heads that this layer stands for. It does not change the
            result; a Transformer layer reads it to scale the features of each head.
        backend: the backend of the layer.
        q_noise, qn_block_size: quantisation noise on W_out, as in fairseq's attention.
    """

    def __init__(
        self,
        embed_dim: int,
        hidden_size: int,
        *,
        cell: Cell,
        bidirectional: bool = False,
        num_heads: int = 1,
        backend: str = "auto",
        q_noise: float = 0.0,
        qn_block_size: int = 8,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.wsum = WsumLSTM(
            embed_dim, hidden_size, bidirectional=bidirectional, cell=cell, backend=backend
        )
        features = self.wsum.num_directions * self.wsum.output_size
        self.out_proj = quant_noise(nn.Linear(features, embed_dim), q_noise, qn_block_size)
        # The state before and after the latest part of a text, for models that carry it along; see
        # `carry`.
        self.state_before: State | None = None
        self.state_after: State | None = None
        self.keeps_final = False
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the map like that of fairseq's attention."""
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def carry(self, state: State | None, *, keep_final: bool) -> None:
        """Start all following calls from `state`, until this method is called again.

        The backward pass may be among these calls: with --checkpoint-activations it computes the
        layer a second time. So the backward pass of a part must come before the next part.

        Args:
            state: D x B x H for each part, or None for zero.
            keep_final: whether each call stores its final state in `state_after`, detached.
        """
        self.state_before, self.state_after, self.keeps_final = state, None, keep_final

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        incremental_state: IncrementalState | None = None,
        need_weights: bool = True,
        static_kv: bool = False,
        attn_mask: Tensor | None = None,
        before_softmax: bool = False,
        need_head_weights: bool = False,
    ) -> tuple[Tensor, None]:
        """Run the layer over a batch.

        Args:
            query: T x B x E; with `incremental_state` the positions after those that it holds.
            key, value: unused; in self-attention they are the query.
            key_padding_mask: True at padding, B x T.
            incremental_state: fairseq's state for step-by-step decoding.
            attn_mask: unused; a layer in one direction never reads later positions.
            need_weights, static_kv, before_softmax, need_head_weights: unused.

        Returns:
            The output, T x B x E, and None in place of attention weights.
        """
        state = self.cached_state(incremental_state)
        if state is None:
            state = self.state_before
        if state is None and (incremental_state is not None or self.keeps_final):
            state = zero_state(self.wsum, query)
        mask = None if key_padding_mask is None else key_padding_mask.t()
        y, state = self.wsum(query, state, mask)
        self.cache_state(incremental_state, state)
        if self.keeps_final:
            self.state_after = tuple(part.detach() for part in state)
        return linear(self.out_proj, y), None

    def _get_input_buffer(
        self, incremental_state: IncrementalState | None
    ) -> dict[str, Tensor | None]:
        """The cached state; fairseq's decoder layers ask for it."""
        return pack_state(self.cached_state(incremental_state) or ())
