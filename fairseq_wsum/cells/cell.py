"""`Cell`: what every cell has in common. Each one is an element-wise weighted sum.

    z_t = W_*x x_t + W_*h h_{t-1} + b_*     pre-activations, a row of them for each letter
    c_t = f_t * c_{t-1} + i_t * g_t         memory cell, where g_t is the content
    h_t = output(z_t, c_t)

Shapes: `... x H`: one time step (B x H) or, where a cell sees x_t alone, all of them (T x B x H).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

Rows = Mapping[str, Tensor]  # pre-activations by their letters


class Cell:
    """A recurrent cell: its parameters as data, and its equations.

    A cell is computed from *rows* of pre-activations, named by the letters of its paper. A subclass
    names them, and defines `content`, `gates` and `output`. From the rows follows how a layer runs:

    - a cell with neither `hidden_rows` nor `sees_memory` is a *gated sum*: everything but the
      recursion of c_t is computed for all time steps at once;
    - one with `sees_memory` and no `hidden_rows` goes step by step, element by element;
    - one with `hidden_rows` has a product with h_{t-1} in every step.

    Attributes:
        name: what options and `get_cell` take.
        title: the name in its paper.
        rows: the rows of W_*x, in the order in which the parameters have them.
        hidden_rows: those of W_*h: the rows that see h_{t-1}.
        bias_rows: the rows with a bias b_*x; all rows, unless given.
        inner_bias_rows: hidden rows whose bias b_*h stays with the product W_*h h_{t-1}, as that of
            the content in a GRU. All other biases are added up.
        vectors: names of further parameters, of H elements each.
        sees_memory: `preactivations` reads c_{t-1}.
        has_memory: there is a memory cell; without one h_t is the content.
    """

    name: str
    title: str = ""
    rows: tuple[str, ...]
    hidden_rows: tuple[str, ...] = ()
    inner_bias_rows: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    sees_memory: bool = False
    has_memory: bool = True
    twin: ClassVar[str | None] = None

    @property
    def bias_rows(self) -> tuple[str, ...]:
        return self.rows

    @property
    def label(self) -> str:
        """The cell as a state dict names it: of two cells with one label, one takes the weights of
        the other."""
        return self.name

    @property
    def is_recurrent(self) -> bool:
        """Whether any row sees h_{t-1}: there is a product in every step."""
        return bool(self.hidden_rows)

    @property
    def is_gated_sum(self) -> bool:
        """Whether only the memory cell links two time steps."""
        return not (self.hidden_rows or self.sees_memory)

    def coupled(self) -> Cell:
        """The cell with f_t = 1 - i_t in place of a forget gate of its own.

        Raises:
            ValueError: it has no such gate.
        """
        raise ValueError(f"cell {self.name!r} has no forget gate to couple")

    # The equations

    def preactivations(self, x: Rows, h: Rows, c: Tensor, v: Rows) -> Rows:
        """z_t, from what comes from x_t and from h_{t-1}, c_{t-1}, and the vectors."""
        return {row: values + h[row] if row in h else values for row, values in x.items()}

    def content(self, z: Rows) -> Tensor:
        """g_t."""
        raise NotImplementedError

    def gates(self, z: Rows) -> tuple[Tensor, Tensor]:
        """i_t and f_t."""
        raise NotImplementedError

    def output(self, z: Rows, c: Tensor) -> Tensor:
        """h_t, from c_t."""
        raise NotImplementedError

    def step(self, z: Rows, c: Tensor) -> tuple[Tensor, Tensor]:
        """One time step: (h_t, c_t) from z_t and c_{t-1}, before any projection."""
        g = self.content(z)
        if not self.has_memory:
            return g, c
        i, f = self.gates(z)
        c = memory(i * g, f, c)
        return self.output(z, c), c


def memory(u: Tensor, f: Tensor, c: Tensor) -> Tensor:
    """c_t = u_t + f_t * c_{t-1}, where u_t = i_t * g_t is what a step adds."""
    return torch.addcmul(u, f, c)
