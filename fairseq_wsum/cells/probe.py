"""A trial of a cell's equations, which finds what its description gets wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .cell import Cell


class _ReadsMemory(Exception):
    pass


class _Unseen(Tensor):
    """A tensor that no operation may use."""

    @classmethod
    def __torch_function__(cls, *_: Any, **__: Any) -> Any:
        raise _ReadsMemory


def problem(cell: Cell) -> str | None:
    """What is wrong with the equations of a cell, or None. They are tried on a single number."""
    needed = ("content", "gates", "output") if cell.has_memory else ("content",)
    for name in needed:
        if getattr(type(cell), name) is getattr(Cell, name):
            return f"it does not define the function {name!r}"
    number = torch.zeros(1, 1, device="cpu")
    c = number if cell.sees_memory else number.as_subclass(_Unseen)
    v = dict.fromkeys(cell.vectors, number[0])
    try:
        z = cell.preactivations(
            dict.fromkeys(cell.rows, number), dict.fromkeys(cell.hidden_rows, number), c, v
        )
        cell.content(z)
        gates = cell.gates(z) if cell.has_memory else (number, number)
        kept = not cell.hidden_is_memory or torch.equal(cell.output(z, number + 0.5), number + 0.5)
    except _ReadsMemory:
        return "`preactivations` reads c_{t-1}: set sees_memory = True"
    except Exception:  # these equations need a layer's sizes, and fail there if they are wrong
        return None
    is_pair = isinstance(gates, (tuple, list)) and len(gates) == 2
    if not (is_pair and all(isinstance(gate, Tensor) for gate in gates)):
        return f"`gates` must return two tensors, such as torch.sigmoid(...), got {gates!r}"
    if not kept:
        return "its memory is its output (hidden_is_memory), so `output` must return c"
    return None
