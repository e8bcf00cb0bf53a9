"""The minLSTM (Feng et al., 2024, arXiv 2410.01201, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .cell import Cell, Rows


@dataclass(frozen=True)
class MinLSTM(Cell):
    """f_t = sigmoid(W_fx x_t + b_f), i_t = sigmoid(W_ix x_t + b_i), g_t = W_gx x_t + b_g,
    h_t = (f_t * h_{t-1} + i_t * g_t) / (f_t + i_t).

    An LSTM without products with h_{t-1}, without tanh and without an output gate. Its gates are
    divided by their sum, so the memory cell is a weighted average.

    Args:
        forget_bias: the initial b_f. With 1, a step at first keeps more than it adds (Jozefowicz et
            al., 2015, for the LSTM).
    """

    name: str = "minlstm"
    title: str = "minLSTM"
    forget_bias: float = 1.0

    rows = ("f", "i", "g")
    hidden_is_memory = True

    def initialise(self, parameters: Mapping[str, Tensor], units: int) -> None:
        """b_f = `forget_bias`."""
        if "bias_ih" in parameters:
            parameters["bias_ih"][:units].fill_(self.forget_bias)

    def content(self, z: Rows) -> Tensor:
        """g_t, a linear map of x_t."""
        return z["g"]

    def gates(self, z: Rows) -> tuple[Tensor, Tensor]:
        """i_t / (f_t + i_t) and f_t / (f_t + i_t), without a division of two small numbers."""
        more = F.logsigmoid(z["f"]) - F.logsigmoid(z["i"])  # log(f_t / i_t)
        return torch.sigmoid(-more), torch.sigmoid(more)
