"""A custom cell, the minGRU (Feng et al., 2024, section 3.1), as a `--user-dir` for fairseq."""

import torch
from torch import Tensor

import fairseq_wsum.plugin  # noqa: F401  the models, tasks and criterions
from fairseq_wsum import Cell, register_cell
from fairseq_wsum.cells import Rows


class MinGRU(Cell):
    """z_t = sigmoid(W_z x_t + b_z), g_t = W_g x_t + b_g, c_t = (1 - z_t) * c_{t-1} + z_t * g_t."""

    name = "own-mingru"
    rows = ("z", "g")  # of W_*x; no `hidden_rows`, as only the memory cell links two steps

    def content(self, z: Rows) -> Tensor:
        """g_t."""
        return z["g"]

    def gates(self, z: Rows) -> tuple[Tensor, Tensor]:
        """The factors of the content and of the memory cell."""
        update = torch.sigmoid(z["z"])
        return update, 1 - update

    def output(self, z: Rows, c: Tensor) -> Tensor:
        """h_t is the memory cell itself."""
        return c


register_cell(MinGRU())
