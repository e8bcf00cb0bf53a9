"""The minGRU (Feng et al., 2024, arXiv 2410.01201, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .cell import Cell, Rows


@dataclass(frozen=True)
class MinGRU(Cell):
    """z_t = sigmoid(W_zx x_t + b_z), g_t = W_gx x_t + b_g, h_t = z_t * g_t + (1 - z_t) * h_{t-1}.

    A GRU without a reset gate, without tanh, and without products with h_{t-1}. Its z_t is the
    weight of the content, where the z_t of `gru` is that of the memory.
    """

    name: str = "mingru"
    title: str = "minGRU"

    rows = ("z", "g")
    hidden_is_memory = True

    def content(self, z: Rows) -> Tensor:
        """g_t, a linear map of x_t."""
        return z["g"]

    def gates(self, z: Rows) -> tuple[Tensor, Tensor]:
        """z_t = sigmoid(z_z) and 1 - z_t."""
        i = torch.sigmoid(z["z"])
        return i, 1 - i
