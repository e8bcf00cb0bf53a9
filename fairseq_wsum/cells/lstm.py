"""The LSTM and its ablations by Levy et al. (ACL 2018).

An LSTM is a simple RNN (S-RNN, its content layer) plus a gated memory cell. `LSTM` describes which
parts of these two remain; `SimpleRNN` is the S-RNN without the memory cell. The rows are named `i`,
`f` and `o` for the gates and `c` for the content layer c~ (`g` in torch's documentation).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from .cell import Cell, Rows


@dataclass(frozen=True)
class LSTM(Cell):
    """c~_t = tanh(W_cx x_t + W_ch h_{t-1} + b_c), c_t = i_t * c~_t + f_t * c_{t-1},
    h_t = o_t * tanh(c_t), where a gate is sigmoid(W_*x x_t + W_*h h_{t-1} + b_*).

    Args:
        name: the name used in options, such as `no-srnn`.
        title: the name in the paper, such as `LSTM - S-RNN`, or a name in the same style.
        srnn: whether the content layer is a simple RNN. If False, the content is linear without
            a bias, c~ = W_cx x.
        output_gate: whether there is an output gate. If False, h = tanh(c).
        recurrent_gates: whether the gates depend on h_{t-1}. If False, they depend on x_t only.
        coupled_gates: whether the forget gate is f = 1 - i, without parameters.
    """

    name: str = "lstm"
    title: str = "LSTM"
    srnn: bool = True
    output_gate: bool = True
    recurrent_gates: bool = True
    coupled_gates: bool = False

    @cached_property
    def rows(self) -> tuple[str, ...]:  # type: ignore[override]
        """The rows in torch's order."""
        has = {"i": True, "f": not self.coupled_gates, "c": True, "o": self.output_gate}
        return tuple(row for row in "ifco" if has[row])

    @cached_property
    def hidden_rows(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(
            row for row in self.rows if (self.srnn if row == "c" else self.recurrent_gates)
        )

    @cached_property
    def bias_rows(self) -> tuple[str, ...]:
        """A linear content layer has no bias."""
        return tuple(row for row in self.rows if row != "c" or self.srnn)

    @property
    def label(self) -> str:
        return f"{self.name} with coupled gates" if self.coupled_gates else self.name

    def coupled(self) -> LSTM:
        return replace(self, coupled_gates=True)

    def content(self, z: Rows) -> Tensor:
        """c~_t = tanh(z_c), an S-RNN, or c~_t = z_c, a linear map of x_t."""
        return torch.tanh(z["c"]) if self.srnn else z["c"]

    def gates(self, z: Rows) -> tuple[Tensor, Tensor]:
        """i_t = sigmoid(z_i), f_t = sigmoid(z_f) or 1 - i_t."""
        i = torch.sigmoid(z["i"])
        return i, 1 - i if self.coupled_gates else torch.sigmoid(z["f"])

    def output(self, z: Rows, c: Tensor) -> Tensor:
        """h_t = o_t * tanh(c_t) with o_t = sigmoid(z_o), or h_t = tanh(c_t)."""
        return torch.sigmoid(z["o"]) * torch.tanh(c) if self.output_gate else torch.tanh(c)


@dataclass(frozen=True)
class SimpleRNN(Cell):
    """h_t = tanh(W_cx x_t + W_ch h_{t-1} + b_c), the content layer without a memory cell."""

    name: str = "no-gates"
    title: str = "LSTM - GATES"

    rows = ("c",)
    hidden_rows = ("c",)
    has_memory = False

    def content(self, z: Rows) -> Tensor:
        """c~_t = tanh(z_c)."""
        return torch.tanh(z["c"])


_NO_SRNN = LSTM("no-srnn", "LSTM - S-RNN", srnn=False)

ABLATIONS: tuple[Cell, ...] = (
    LSTM(),
    _NO_SRNN,
    replace(_NO_SRNN, name="no-srnn-out", title="LSTM - S-RNN - OUT", output_gate=False),
    replace(_NO_SRNN, name="no-srnn-hidden", title="LSTM - S-RNN - HIDDEN", recurrent_gates=False),
    SimpleRNN(),
    replace(
        _NO_SRNN,
        name="no-srnn-out-hidden",
        title="LSTM - S-RNN - OUT - HIDDEN",
        output_gate=False,
        recurrent_gates=False,
    ),
    LSTM("no-out", "LSTM - OUT", output_gate=False),
    LSTM("no-hidden", "LSTM - HIDDEN", recurrent_gates=False),
)
