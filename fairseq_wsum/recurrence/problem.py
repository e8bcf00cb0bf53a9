"""A call of an operator as its kernels get it: the number of the cell, the sizes and all tensors.

Shapes: T time steps, B sequences, H hidden units, P features of h (P = H without a projection).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..cells import GRU, LSTM, QRNN, SRU, Cell, MinGRU, MinLSTM, SimpleRNN

NOT_TRANSFORMED = "it does not support torch.func or forward-mode derivatives"

SRNN, OUTPUT_GATE, RECURRENT_GATES, GATES, COUPLED = (1 << bit for bit in range(5))


class Scan(Cell):
    """c_t = f_t * c_{t-1} + u_t from f_t and u_t themselves: the cell of `scan`.

    u_t is a tensor of its own, so that no caller copies both into one. The output is c_t in
    float32, also at padding.
    """

    name = "scan"
    rows = ("f",)
    hidden_is_memory = True


_OTHERS = {kind: (n + 1) << 5 for n, kind in enumerate((GRU, MinGRU, MinLSTM, QRNN, SRU, Scan))}


def has_kernels(cell: Cell, device: str) -> bool:
    """Whether these operators support the cell on a type of device."""
    # a subclass may have different equations
    kinds = (LSTM, SimpleRNN, MinGRU, MinLSTM, QRNN)
    return type(cell) in kinds or (device == "cpu" and type(cell) in _OTHERS)


def encode(cell: Cell) -> int:
    """The id of the cell, for the operators: for the LSTM and its ablations, their parts."""
    if type(cell) in _OTHERS:
        return _OTHERS[type(cell)]
    if not isinstance(cell, LSTM):
        assert type(cell) is SimpleRNN, "a cell without kernels has no id: `has_kernels`"
        return SRNN
    parts = {
        SRNN: cell.srnn,
        OUTPUT_GATE: cell.output_gate,
        RECURRENT_GATES: cell.recurrent_gates,
        COUPLED: cell.coupled_gates,
    }
    return GATES + sum(bit for bit, has in parts.items() if has)


@cache
def decode(cell_id: int) -> Cell:
    """A cell of this id. An ablation of the LSTM does not have its own name."""
    for kind, its_id in _OTHERS.items():
        if cell_id == its_id:
            return kind()
    if cell_id == SRNN:
        return SimpleRNN()
    assert cell_id & GATES and not cell_id >> 5, f"no cell has the id {cell_id}"
    return LSTM(
        srnn=bool(cell_id & SRNN),
        output_gate=bool(cell_id & OUTPUT_GATE),
        recurrent_gates=bool(cell_id & RECURRENT_GATES),
        coupled_gates=bool(cell_id & COUPLED),
    )


def saved_rows(cell: Cell) -> tuple[str, ...]:
    """The rows of `saved`: those of z and, for each inner bias, W_*h h_{t-1} + b_*h of its row."""
    return (*cell.rows, *(row + "_h" for row in cell.inner_bias_rows))


def saves_preactivations(cell: Cell, dtype: torch.dtype) -> bool:
    """Whether `saved` has pre-activations, not activated rows.

    In 16 bits a gate near 1 would be rounded to 1, and its gradient would be lost.
    """
    return cell.has_memory and dtype != torch.float32


# The dimensions of each tensor, by letter. `rows`, `hidden_rows` and `saved_rows` stand
# for so many rows of H elements. The structs of csrc/kernels.h have the same names in this order.
MEMORY_CELL = {
    **dict(padding="T B", z="T B rows", u="T B H", v="vectors H", c_0="B H", y="T B H"),
    **dict(c_n="B H", cells="T B H", dy="T B H", dc_n="B H", dz="T B rows", du="T B H"),
    **dict(dv="B vectors H", dc_0="B H"),
}
RECURRENCE = {
    **dict(padding="T B", z="T B rows", w_hh="hidden_rows P", b_inner="hidden_rows", w_hr="P H"),
    **dict(h_0="B P", c_0="B H", y="T B P", h_n="B P", c_n="B H", saved="T B saved_rows"),
    **dict(cells="T B H", states="T B P", dy="T B P", dh_n="B P", dc_n="B H", dz="T B rows"),
    **dict(dh="T B P", dh_0="B P", dc_0="B H"),
}

# The tensors that are always float32: vectors, those of the memory cell, and sums.
_FLOAT32 = {"v", "c_0", "c_n", "cells", "dc_n", "dc_0", "dv"}


class Problem(NamedTuple):
    """A call of an operator, as its kernels get it.

    Attributes:
        name: `memory_cell` or `recurrence`.
        cell_id: that of the cell (`encode`).
        reverse: run from the last time step to the first.
        backward: compute the gradients.
        sizes: T, B and H, and those of `recurrence` also P.
        tensors: inputs and outputs by name; None for one that is not given or was left out.
    """

    name: str
    cell_id: int
    reverse: bool
    backward: bool
    sizes: Mapping[str, int]
    tensors: dict[str, Tensor | None]

    @property
    def like(self) -> Tensor:
        """A tensor with the dtype of all tensors except the mask and those in float32."""
        found = self.tensors["saved" if self.backward and self.name == "recurrence" else "z"]
        assert found is not None
        return found

    def check(self, dtypes: Sequence[torch.dtype]) -> None:
        """Check all tensors, before kernels for these dtypes access memory.

        Tracing does not, because comparing symbolic sizes would restrict the traced program to some
        of them.

        Raises:
            ValueError: a tensor has the wrong dtype, shape or device, or there is no time step.
        """
        like, cell = self.like, decode(self.cell_id)
        if like.dtype not in dtypes:
            *others, last = (str(dtype).removeprefix("torch.") for dtype in dtypes)
            raise ValueError(
                f"the kernels take {', '.join(others)} and {last}, got {like.dtype}: convert the "
                "tensors, or use `scan_reference`, or backend='reference' in a layer"
            )
        if self.sizes["T"] == 0:
            raise ValueError("the kernels take at least one time step, got none")
        is_scan = type(cell) is Scan
        needed = dict(c_0=cell.has_memory, v=bool(cell.vectors), u=is_scan and not self.backward)
        for name, is_needed in needed.items():
            assert (self.tensors.get(name) is not None) == is_needed, (name, cell)
        # the output of the scan is the memory cell
        in_float32 = _FLOAT32 | {"y", "dy"} if is_scan else _FLOAT32
        counts = counts_of_cell(self.cell_id)
        rows = {key: n * self.sizes["H"] for key, n in counts.items() if key != "vectors"}
        sizes = {**self.sizes, **counts, **rows}
        dimensions = MEMORY_CELL if self.name == "memory_cell" else RECURRENCE
        for name, tensor in self.tensors.items():
            if tensor is None:
                continue
            dtype = torch.float32 if name in in_float32 else like.dtype
            dtype = torch.bool if name == "padding" else dtype
            wanted = (tuple(sizes[d] for d in dimensions[name].split()), dtype, like.device)
            found = (tuple(tensor.shape), tensor.dtype, tensor.device)
            if found != wanted:
                right, wrong = ("{} in {} on {}".format(*x) for x in (wanted, found))
                raise ValueError(f"the kernels take {name} of size {right}, got {wrong}")


@cache
def counts_of_cell(cell_id: int) -> Mapping[str, int]:
    """How many rows, hidden rows, saved rows and vectors a cell has."""
    cell = decode(cell_id)
    return dict(
        rows=len(cell.rows),
        hidden_rows=len(cell.hidden_rows),
        saved_rows=len(saved_rows(cell)),
        vectors=len(cell.vectors),
    )
