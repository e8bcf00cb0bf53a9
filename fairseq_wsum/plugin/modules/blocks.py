"""A stack of LSTM layers with layer normalisation, residuals and feed-forward blocks.

Shapes: T time steps, B sequences, I input features, H hidden units, D directions, L layers.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...cells import Cell
from ...layer import State, WsumLSTM
from ...products import linear
from ...recurrence.padding import zero_at_padding


def _norm(size: int, wanted: bool) -> nn.Module:
    return nn.LayerNorm(size) if wanted else nn.Identity()


class FeedForward(nn.Module):
    """x + dropout(W_2 relu(W_1 norm(x) + b_1) + b_2), as in a Transformer (Vaswani et al., 2017).

    Args:
        size: number of features of x.
        inner_size: number of rows of W_1.
        dropout: applied to the output of W_2.
        layer_norm: whether norm is layer normalisation; otherwise norm(x) = x.
    """

    def __init__(self, size: int, inner_size: int, dropout: nn.Module, *, layer_norm: bool) -> None:
        super().__init__()
        self.norm = _norm(size, layer_norm)
        self.fc1 = nn.Linear(size, inner_size)
        self.fc2 = nn.Linear(inner_size, size)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """... x size -> ... x size."""
        y: Tensor = self.dropout(linear(self.fc2, F.relu(linear(self.fc1, self.norm(x)))))
        return x + y


class LSTMBlock(nn.Module):
    """One layer of `LSTMBlocks`: an LSTM, and perhaps a feed-forward block after it.

    Args:
        lstm: the LSTM, of one layer.
        dropout: applied to the output of the LSTM and of the feed-forward block.
        residual: add the input of the layer, whose size must be that of the LSTM's output.
        layer_norm: whether norm is layer normalisation; otherwise norm(x) = x.
        ffn_size: inner size of the feed-forward block; 0 for none.
    """

    def __init__(
        self,
        lstm: WsumLSTM,
        dropout: nn.Module,
        *,
        residual: bool,
        layer_norm: bool,
        ffn_size: int,
    ) -> None:
        super().__init__()
        size = lstm.num_directions * lstm.output_size
        self.norm = _norm(lstm.input_size, layer_norm)
        self.lstm = lstm
        self.dropout = dropout
        self.residual = residual
        self.feed_forward = (
            FeedForward(size, ffn_size, dropout, layer_norm=layer_norm) if ffn_size else None
        )

    def forward(
        self, x: Tensor, hx: State | None, padding_mask: Tensor | None
    ) -> tuple[Tensor, State]:
        """The output, T x B x D*H, and the state of the LSTM; see `WsumLSTM.forward`."""
        y, state = self.lstm(self.norm(x), hx, padding_mask)
        y = self.dropout(y)
        if self.residual:
            y = x + y
        return (y if self.feed_forward is None else self.feed_forward(y)), state


class LSTMBlocks(nn.Module):
    """A stack that is called like a `WsumLSTM` of several layers, and has the same states.

        y = dropout(LSTM(norm(x)))                             for each layer; with `residuals`
        y = x + dropout(LSTM(norm(x)))                         where x and y have one size
        y = y + dropout(W_2 relu(W_1 norm(y) + b_1) + b_2)     with `ffn_size`

    Each norm has parameters of its own, and one more normalises the output of the stack. The order,
    normalisation before each part ("pre-norm"), is that of Xiong et al. (2020).

    Args:
        input_size: number of input features, I.
        hidden_size: number of units of each direction, H.
        num_layers: number of layers.
        dropout: the dropout module.
        bidirectional: run each layer in both directions and concatenate the outputs.
        residuals: whether layers add their input to their output. The first layer does so if I and
            D*H are equal, and the others always do.
        layer_norm: whether norm is layer normalisation. Without it, norm(x) = x.
        ffn_size: inner size of the feed-forward blocks, the number of rows of W_1; 0 for none.
        cell: the cell of all layers.
        backend: the backend of all layers.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        dropout: nn.Module,
        *,
        bidirectional: bool = False,
        residuals: bool = False,
        layer_norm: bool = False,
        ffn_size: int = 0,
        cell: str | Cell = "lstm",
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.num_layers = num_layers
        self.num_directions = 2 if bidirectional else 1
        self.output_size = hidden_size
        size = hidden_size * self.num_directions
        blocks = []
        for layer in range(num_layers):
            features = input_size if layer == 0 else size
            lstm = WsumLSTM(
                features, hidden_size, bidirectional=bidirectional, cell=cell, backend=backend
            )
            blocks.append(
                LSTMBlock(
                    lstm,
                    dropout,
                    residual=residuals and features == size,
                    layer_norm=layer_norm,
                    ffn_size=ffn_size,
                )
            )
        self.blocks = nn.ModuleList(blocks)
        self.norm = _norm(size, layer_norm)

    @property
    def cell(self) -> Cell:
        """The cell of all layers."""
        return self._lstms[0].cell

    @property
    def _lstms(self) -> list[WsumLSTM]:
        return [block.lstm for block in self.blocks]  # type: ignore[misc]

    def forward(
        self, x: Tensor, hx: State | None = None, padding_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run all layers over a batch of sequences.

        Args:
            x: T x B x I.
            hx, padding_mask: as in `WsumLSTM.forward`.

        Returns:
            The output, T x B x D*H, which is zero at padding, and the states after the last time
            step, as `WsumLSTM.forward` returns them.
        """
        x = zero_at_padding(x, padding_mask)  # a NaN there would reach the gradients of a norm
        states: list[State] = []
        for block, state in zip(self.blocks, self._split(hx), strict=True):
            x, state = block(x, state, padding_mask)
            states.append(state)
        x = zero_at_padding(self.norm(x), padding_mask)  # biases make it non-zero there
        h, c, *last_inputs = zip(*states, strict=True)
        return x, (torch.cat(h), torch.cat(c), *(torch.cat(part, -1) for part in last_inputs))

    def _split(self, hx: State | None) -> Iterable[State | None]:
        """The state of each layer."""
        if hx is None:
            return [None] * self.num_layers
        parts = [part.split(self.num_directions) for part in hx[:2]]
        if len(hx) > 2:  # the last inputs of a window of 2
            parts.append(hx[2].split([lstm.input_size for lstm in self._lstms], dim=-1))
        return zip(*parts, strict=True)
