"""The map from the encoder's final states to the decoder's initial states."""

from __future__ import annotations

from torch import Tensor, nn

from ...products import linear


class Bridge(nn.Module):
    """Maps states L_e x B x H_e to L_d x B x H_d.

    - If the shapes are equal, the states are passed on unchanged, without parameters.
    - If only the sizes H_e and H_d differ, all layers share one linear map (as in fairseq's LSTM).
    - If the numbers of layers differ, one linear map takes the concatenated states of all encoder
      layers to those of all decoder layers.

    Args:
        source_layers, source_size: L_e and H_e.
        target_layers, target_size: L_d and H_d.
    """

    def __init__(
        self, source_layers: int, source_size: int, target_layers: int, target_size: int
    ) -> None:
        super().__init__()
        self.target_shape = (target_layers, target_size)
        self.joins_layers = source_layers != target_layers
        self.proj: nn.Linear | None = None
        if self.joins_layers:
            self.proj = nn.Linear(source_layers * source_size, target_layers * target_size)
        elif source_size != target_size:
            self.proj = nn.Linear(source_size, target_size)

    def forward(self, state: Tensor) -> Tensor:
        """L_e x B x H_e -> L_d x B x H_d."""
        if self.proj is None:
            return state
        if not self.joins_layers:
            return linear(self.proj, state)
        batch = state.size(1)
        joined = state.transpose(0, 1).reshape(batch, -1)
        layers, size = self.target_shape
        return linear(self.proj, joined).view(batch, layers, size).transpose(0, 1)
