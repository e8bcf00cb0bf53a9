"""The equations of Levy et al. (2018), in the paper's letters. Every backend agrees with them.

Shapes: everything is `... x H`: one time step (B x H) or, where a cell needs no h_{t-1}, all of
them at once (T x B x H). `z` holds the pre-activations W_*x x_t + W_*h h_{t-1} + b_*, by row.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .ablation import Ablation


def content(cell: Ablation, z: Mapping[str, Tensor]) -> Tensor:
    """Content layer: c~_t = tanh(z_c), an S-RNN, or c~_t = z_c, a linear map of x_t."""
    return torch.tanh(z["c"]) if cell.srnn else z["c"]


def memory_gates(cell: Ablation, z: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Input and forget gate: i_t = sigmoid(z_i), f_t = sigmoid(z_f), or f_t = 1 - i_t."""
    i = torch.sigmoid(z["i"])
    f = 1 - i if cell.coupled_gates else torch.sigmoid(z["f"])
    return i, f


def memory(u: Tensor, f: Tensor, c: Tensor) -> Tensor:
    """Memory cell: c_t = u_t + f_t * c_{t-1}, where u_t = i_t * c~_t is what the input adds."""
    return torch.addcmul(u, f, c)


def output(cell: Ablation, z: Mapping[str, Tensor], c: Tensor) -> Tensor:
    """Output: h_t = o_t * tanh(c_t) with o_t = sigmoid(z_o), or h_t = tanh(c_t)."""
    return torch.sigmoid(z["o"]) * torch.tanh(c) if cell.output_gate else torch.tanh(c)


def step(cell: Ablation, z: Mapping[str, Tensor], c: Tensor) -> tuple[Tensor, Tensor]:
    """One time step: (h_t, c_t) from the pre-activations and c_{t-1}, before any projection."""
    c_tilde = content(cell, z)
    if not cell.gates:
        return c_tilde, c
    i, f = memory_gates(cell, z)
    c = memory(i * c_tilde, f, c)
    return output(cell, z, c), c
