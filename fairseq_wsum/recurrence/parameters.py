"""What a backend is given: the `Parameters` and the `Inputs` of one direction of one layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from ..cells import Cell, Rows
from ..cells.precision import widened


class Parameters(NamedTuple):
    """The parameters of one direction of one layer, in the layout of `torch.nn.LSTM`.

    A matrix or a bias has one block of H output features for each row of the cell
    (`Cell.weight_rows`, `Cell.hidden_rows`, `Cell.bias_rows`). Shapes: I input features, H hidden
    units, P features of h (P = H without a projection).

    Attributes:
        w_ih: W_*x, weight_rows*H x I.
        w_hh: W_*h, hidden_rows*H x P; None if no row depends on h_{t-1}.
        b_ih: b_*x, bias_rows*H, or None.
        b_hh: b_*h, hidden_rows*H, or None.
        w_hr: the projection of LSTMP, P x H; None without a projection.
        v: the cell's vectors by name, H each, in at least 32 bits.
    """

    w_ih: Tensor
    w_hh: Tensor | None
    b_ih: Tensor | None
    b_hh: Tensor | None
    w_hr: Tensor | None
    v: Rows

    @classmethod
    def from_names(cls, cell: Cell, named: Mapping[str, Tensor]) -> Parameters:
        """The parameters from torch's names for them, without suffix: "weight_ih" and so on.

        Raises:
            ValueError: `bias_ih` has been set to None, but not `bias_hh`.
        """
        if named.get("bias_ih") is None and named.get("bias_hh") is not None:
            raise ValueError(
                "bias_ih is None and bias_hh is not: to have one bias, set bias_hh to None instead"
            )
        return cls(
            w_ih=named["weight_ih"],
            w_hh=named.get("weight_hh"),
            b_ih=named.get("bias_ih"),
            b_hh=named.get("bias_hh"),
            w_hr=named.get("weight_hr"),
            v={name: widened(named[name]) for name in cell.vectors},
        )


class Inputs(NamedTuple):
    """One direction of one layer over a batch, as a backend runs it.

    Shapes: T time steps, B sequences, I input features, H hidden units, P features of h (P = H
    without a projection).

    Attributes:
        cell: the cell to run.
        x: the input, T x B x I with T > 0. Values at padding must be finite.
        p: the parameters of the layer.
        h_0: initial hidden state, B x P.
        c_0: initial memory cell, B x H; h_0 if `cell.hidden_is_memory`.
        padding_mask: True at padding, T x B. At padding the state is kept and the output is zero.
        reverse: run from the last time step to the first.
    """

    cell: Cell
    x: Tensor
    p: Parameters
    h_0: Tensor
    c_0: Tensor
    padding_mask: Tensor | None = None
    reverse: bool = False


# The output, T x B x P, and h, B x P, and c, B x H, after the last time step that is not padding
Results = tuple[Tensor, Tensor, Tensor]
