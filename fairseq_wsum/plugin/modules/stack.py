"""Layers of LSTMs one upon the other, with dropout between them and residual connections."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ...layer import State, WsumLSTM, unstack


class LSTMStack(nn.Module):
    """Several layers of `WsumLSTM`, as a model wants them.

    It adds two things to the layers of one `WsumLSTM`: a dropout module of the model's own
    between layers, and residual connections, y_l = LSTM_l(x_l) + x_l from the second layer on.

    Args:
        input_size: features of the input, I.
        hidden_size: units of each direction, H.
        num_layers: layers, L.
        make_layer: makes one layer from its input size and `hidden_size`.
        dropout: applied to what goes from one layer to the next.
        residuals: add each layer's input to its output, from the second layer on.

    Attributes:
        output_size: features of the output, D*P, where P is H unless the layers project.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        make_layer: Callable[[int, int], WsumLSTM],
        dropout: nn.Module,
        residuals: bool = False,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.residuals = residuals
        self.layers = nn.ModuleList()
        for _ in range(num_layers):
            layer = make_layer(input_size, hidden_size)
            self.layers.append(layer)
            input_size = layer.output_size * layer.num_directions
        self.output_size = input_size

    def forward(
        self, x: Tensor, state: State | None = None, padding_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run all layers.

        Args:
            x: T x B x I.
            state: (h_0, c_0), L x B x D*P and L x B x D*H; zero if left out.
            padding_mask: True at padding, T x B.

        Returns:
            The output, T x B x D*P, and the final state in the form of `state`.
        """
        y, states = self.run(x, None if state is None else by_layer(state), padding_mask)
        return y, of_layers(states)

    def run(
        self,
        x: Tensor,
        states: Sequence[State] | None = None,
        padding_mask: Tensor | None = None,
        *,
        from_products: bool = False,
    ) -> tuple[Tensor, list[State]]:
        """As `forward`, with the state of each layer by itself: for loops over time.

        Args:
            states: (h_0, c_0) of each layer, B x D*H; zero if left out.
            from_products: `x` is not the input but the first layer's products with it, as
                `WsumLSTM.forward_products` takes them.
        """
        final: list[State] = []
        for k, layer in enumerate(self.layers):
            assert isinstance(layer, WsumLSTM)
            hx = None
            if states is not None:
                h_0, c_0 = states[k]
                hx = _split(h_0, layer.num_directions), _split(c_0, layer.num_directions)
            if k == 0 and from_products:
                assert hx is not None
                y, (h, c) = layer.forward_products(x, hx, padding_mask)
            else:
                y, (h, c) = layer(self.dropout(x) if k > 0 else x, hx, padding_mask)
            x = y + x if self.residuals and k > 0 else y
            final.append((_join(h), _join(c)))
        return x, final


def by_layer(state: State) -> list[State]:
    """(h, c), each L x B x D*H -> the same for each layer, B x D*H."""
    return list(zip(unstack(state[0]), unstack(state[1]), strict=True))


def of_layers(states: Sequence[State]) -> State:
    """What `by_layer` was given."""
    return _stack([h for h, _ in states]), _stack([c for _, c in states])


def _stack(states: Sequence[Tensor]) -> Tensor:
    """What `unstack` was given; a single one is not copied."""
    return states[0].unsqueeze(0) if len(states) == 1 else torch.stack(list(states))


def _split(state: Tensor, directions: int) -> Tensor:
    """B x D*H -> D x B x H."""
    return _stack(state.chunk(directions, dim=-1))


def _join(state: Tensor) -> Tensor:
    """D x B x H -> B x D*H."""
    parts = unstack(state)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
