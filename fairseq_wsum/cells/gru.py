"""The GRU (Cho et al., 2014), with the equations of `torch.nn.GRU`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .cell import Cell, Rows


@dataclass(frozen=True)
class GRU(Cell):
    """r_t = sigmoid(W_rx x_t + W_rh h_{t-1} + b_r), z_t likewise,
    n_t = tanh(W_nx x_t + b_nx + r_t * (W_nh h_{t-1} + b_nh)),
    h_t = (1 - z_t) * n_t + z_t * h_{t-1}.

    The rows have torch's order and names. h_t is the memory cell, so the input gate is 1 - z_t and
    the forget gate is z_t.
    """

    name: str = "gru"
    title: str = "GRU"

    rows = ("r", "z", "n")
    hidden_rows = ("r", "z", "n")
    inner_bias_rows = ("n",)
    hidden_is_memory = True

    def preactivations(self, x: Rows, h: Rows, c: Tensor, v: Rows) -> Rows:
        """z_r, z_z and z_n = W_nx x_t + b_nx + r_t * (W_nh h_{t-1} + b_nh)."""
        z_r = x["r"] + h["r"]
        return {"r": z_r, "z": x["z"] + h["z"], "n": x["n"] + torch.sigmoid(z_r) * h["n"]}

    def content(self, z: Rows) -> Tensor:
        """n_t = tanh(z_n)."""
        return torch.tanh(z["n"])

    def gates(self, z: Rows) -> tuple[Tensor, Tensor]:
        """1 - z_t and z_t = sigmoid(z_z)."""
        f = torch.sigmoid(z["z"])
        return 1 - f, f
