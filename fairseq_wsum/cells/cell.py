"""`Cell`: the base class of all cells. The memory, if any, is an element-wise weighted sum.

    z_t = W_*x x_t + W_*h h_{t-1} + b_*     pre-activations, one row for each letter
    c_t = f_t * c_{t-1} + i_t * g_t         memory cell, where g_t is the content
    h_t = output(z_t, c_t)

In any cell i_t and f_t are the factors of the content and of the memory, such as 1 - z_t and z_t in
a GRU.

Shapes: tensors are `... x H`, either one time step (B x H) or all time steps at once (T x B x H).
The latter is possible for cells whose gates and content depend on x_t only.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Rows = Mapping[str, Tensor]  # pre-activations by row letter


class Cell:
    """A cell of a recurrent layer: its parameters, described as data, and its equations.

    A cell is computed from *rows* of pre-activations, which carry the letters of its paper. A
    subclass names its rows and defines `content`; `gates` if there is a memory cell; and `output`
    if h_t is not c_t itself. The rows determine how a layer runs:

    - A cell with neither `hidden_rows` nor `sees_memory` is a *gated sum*. Everything except the
      recursion of c_t is computed for all time steps at once.
    - A cell with `sees_memory` but no `hidden_rows` runs step by step, with element-wise operations
      only.
    - A cell with `hidden_rows` has a matrix product with h_{t-1} in every step.

    Attributes:
        name: the name used in options and by `get_cell`.
        title: the name in the paper, for the help of --cell.
        rows: the rows of W_*x, in the order in which the parameters store them.
        hidden_rows: the rows of W_*h, that is, the rows that depend on h_{t-1}.
        bias_rows: the rows with a bias b_*x; all rows with a matrix by default. If there are any,
            every hidden row has a bias b_*h, too.
        inner_bias_rows: hidden rows whose bias b_*h is added to the product W_*h h_{t-1}, like the
            content bias of a GRU. All other biases b_*h are added to b_*x.
        skip_rows: the rows, at the end of `rows`, that are the input itself (see `skip`). They have
            no matrix.
        vectors: names of further parameters of H elements each.
        sees_memory: whether `preactivations` reads c_{t-1}.
        has_memory: whether there is a memory cell; without one, h_t is the content.
        hidden_is_memory: whether h_t is the memory cell itself, as in a GRU. A layer then starts
            from h_0 and returns c_0 unchanged.
        can_project: whether a layer may project h_t (`proj_size`); by default unless
            `hidden_is_memory`.
        window: the number of inputs that a step reads: 1 for x_t, 2 for x_t and x_{t-1}.
    """

    name: str
    title: str = ""
    rows: tuple[str, ...]
    hidden_rows: tuple[str, ...] = ()
    inner_bias_rows: tuple[str, ...] = ()
    skip_rows: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    sees_memory: bool = False
    has_memory: bool = True
    hidden_is_memory: bool = False
    window: int = 1

    @property
    def bias_rows(self) -> tuple[str, ...]:
        return self.weight_rows

    @property
    def can_project(self) -> bool:
        return not self.hidden_is_memory

    @property
    def weight_rows(self) -> tuple[str, ...]:
        """The rows with a matrix W_*x."""
        return self.rows[: len(self.rows) - len(self.skip_rows)]

    @property
    def label(self) -> str:
        """The name for users, with the settings that change the equations."""
        return self.name

    @property
    def has_recurrent_matrix(self) -> bool:
        """Whether there is a W_*h, which requires a matrix product in every step."""
        return bool(self.hidden_rows)

    @property
    def is_gated_sum(self) -> bool:
        """Whether the memory cell is the only connection between time steps."""
        return not (self.hidden_rows or self.sees_memory)

    @property
    def carries_h(self) -> bool:
        """Whether the next step reads h_t."""
        return self.has_recurrent_matrix or self.hidden_is_memory

    @property
    def carries_c(self) -> bool:
        """Whether the next step reads a memory cell c_t that is not h_t."""
        return self.has_memory and not self.hidden_is_memory

    def coupled(self) -> Cell:
        """This cell with f_t = 1 - i_t in place of a separate forget gate.

        Raises:
            ValueError: the cell has no forget gate of its own.
        """
        raise ValueError(
            f"cell {self.name!r} has no forget gate of its own to couple: leave out coupled_gates "
            "(--coupled-gates)"
        )

    def with_window(self, window: int) -> Cell:
        """This cell with another `window`.

        Raises:
            ValueError: the cell has no such window.
        """
        if window == self.window:
            return self
        raise ValueError(f"cell {self.name!r} has a window of {self.window}, not of {window!r}")

    def fit(self, features: int, units: int) -> Cell:
        """The form of this cell in a layer with `features` inputs and `units` units."""
        return self

    def initialise(self, parameters: Mapping[str, Tensor], units: int) -> None:
        """Change the initial parameters where the cell needs other values than uniform ones.

        Args:
            parameters: the parameters of one direction of one layer, by name without suffix. All
                have their usual initial values when this is called: uniform ones, or in
                `wsum_lstm_lm` zero for biases and vectors.
            units: H.
        """

    # The equations

    def skip(self, x: Tensor) -> Tensor:
        """The `skip_rows` of a step, from its input: ... x I -> ... x len(skip_rows)*H."""
        return x

    def preactivations(self, x: Rows, h: Rows, c: Tensor, v: Rows) -> Rows:
        """z_t from the rows of W_*x x_t + b_*, those of W_*h h_{t-1}, c_{t-1}, and the vectors."""
        return {row: values + h[row] if row in h else values for row, values in x.items()}

    def content(self, z: Rows) -> Tensor:
        """g_t."""
        raise NotImplementedError

    def gates(self, z: Rows) -> tuple[Tensor, Tensor]:
        """i_t and f_t, the factors of the content and of the memory."""
        raise NotImplementedError

    def output(self, z: Rows, c: Tensor) -> Tensor:
        """h_t, from c_t; by default c_t itself."""
        return c

    def step(self, z: Rows, c: Tensor) -> tuple[Tensor, Tensor]:
        """One time step: (h_t, c_t) from z_t and c_{t-1}, before any projection."""
        g = self.content(z)
        if not self.has_memory:
            return g, c
        i, f = self.gates(z)
        c = memory(i * g, f, c)
        return self.output(z, c), c


def memory(u: Tensor, f: Tensor, c: Tensor) -> Tensor:
    """c_t = u_t + f_t * c_{t-1}, where u_t = i_t * g_t is the new content of step t."""
    return torch.addcmul(u, f, c)
