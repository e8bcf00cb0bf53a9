"""The registry of cells by name. Cells are added to `ABLATIONS` or through `register_cell`."""

from __future__ import annotations

import re
from types import MappingProxyType

from .cell import Cell
from .lstm import ABLATIONS

_cells: dict[str, Cell] = {cell.name: cell for cell in ABLATIONS}
_BUILT_IN = frozenset(_cells)

# All registered cells by name, read-only.
CELLS = MappingProxyType(_cells)


def register_cell(cell: Cell) -> Cell:
    """Register a cell, so that `--cell` and `WsumLSTM(cell=...)` accept its name.

    Args:
        cell: an instance of a subclass of `Cell`. The class must be importable if a layer with this
            cell is to be pickled.

    Returns:
        The cell.

    Raises:
        TypeError: `cell` is not an instance of `Cell`.
        ValueError: the name belongs to a built-in cell, or the description of the parameters is
            inconsistent.
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"register_cell takes an instance of a subclass of Cell, got {cell!r}")
    _check(cell)
    if cell.name in _BUILT_IN and cell != CELLS[cell.name]:  # user modules may be imported twice
        raise ValueError(f"cell {cell.name!r}: the name is that of a cell of this package")
    _cells[cell.name] = cell
    return cell


def get_cell(cell: str | Cell, *, coupled_gates: bool = False) -> Cell:
    """Look up a cell by name, or check a `Cell`; with `coupled_gates`, f_t = 1 - i_t.

    Raises:
        ValueError: the name is unknown, the description of the cell is inconsistent, or the cell
            has no forget gate to couple.
    """
    if isinstance(cell, Cell):
        _check(cell)
        found = cell
    elif cell in CELLS:
        found = CELLS[cell]
    else:
        raise ValueError(f"unknown cell {cell!r}: choose one of {', '.join(CELLS)}")
    return found.coupled() if coupled_gates else found


def _check(cell: Cell) -> None:
    problem = _problem(cell)
    if problem is not None:
        raise ValueError(f"cell {getattr(cell, 'name', cell)!r}: {problem}")


def _problem(cell: Cell) -> str | None:
    """What is inconsistent in the description of a cell, or None."""
    name = getattr(cell, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name):
        return "its name must be lower-case letters, digits and - _ ."
    rows = getattr(cell, "rows", ())
    if not rows or len(set(rows)) < len(rows):
        return f"its rows must be different letters, at least one, got {rows}"
    for attribute, whole in (
        ("hidden_rows", rows),
        ("bias_rows", rows),
        ("inner_bias_rows", cell.hidden_rows),
    ):
        part = getattr(cell, attribute)
        if tuple(row for row in whole if row in part) != tuple(part):
            return f"{attribute} {part} must be some of {whole}, in that order"
    if not cell.has_memory and not cell.hidden_rows:
        return "without a memory cell and hidden_rows nothing links two time steps"
    return None
