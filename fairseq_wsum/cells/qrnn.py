"""The quasi-recurrent neural network (Bradbury et al., 2017) with fo-pooling."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .cell import Cell, Rows


@dataclass(frozen=True)
class QRNN(Cell):
    """z_t = tanh(W_z * x), f_t = sigmoid(W_f * x), o_t = sigmoid(W_o * x), where W * x is a causal
    convolution over x_t and, with a window of 2, x_{t-1};
    c_t = f_t * c_{t-1} + (1 - f_t) * z_t, h_t = o_t * c_t.

    With a window of 2, W_*x has twice the columns: those of x_t, then those of x_{t-1}. The paper
    writes no biases; here each row has one, as in its authors' PyTorch code.

    Args:
        window: 1 or 2.
    """

    name: str = "qrnn"
    title: str = "QRNN"
    window: int = 1

    rows = ("z", "f", "o")

    @property
    def label(self) -> str:
        return self.name if self.window == 1 else f"{self.name} with a window of {self.window}"

    def with_window(self, window: int) -> QRNN:
        if type(window) is not int or window not in (1, 2):
            raise ValueError(f"cell {self.name!r} has a window of 1 or 2, not of {window!r}")
        return replace(self, window=window)

    def content(self, z: Rows) -> Tensor:
        """z_t = tanh(z_z)."""
        return torch.tanh(z["z"])

    def gates(self, z: Rows) -> tuple[Tensor, Tensor]:
        """1 - f_t and f_t = sigmoid(z_f)."""
        f = torch.sigmoid(z["f"])
        return 1 - f, f

    def output(self, z: Rows, c: Tensor) -> Tensor:
        """h_t = o_t * c_t with o_t = sigmoid(z_o)."""
        return torch.sigmoid(z["o"]) * c
