"""The cells by their names. A line here, or `register_cell`, makes a cell known."""

from __future__ import annotations

import re
from types import MappingProxyType

from .cell import Cell
from .lstm import ABLATIONS

_cells: dict[str, Cell] = {cell.name: cell for cell in ABLATIONS}
_BUILT_IN = frozenset(_cells)

# The cells that there are, by name.
CELLS = MappingProxyType(_cells)


def register_cell(cell: Cell) -> Cell:
    """Make a cell known: then `--cell` and `WsumLSTM(cell=...)` take its name.

    Args:
        cell: an instance of a subclass of `Cell`. To be pickled with a layer, its class must be
            importable.

    Returns:
        The cell.

    Raises:
        TypeError: it is no instance of `Cell`.
        ValueError: its name is taken, or what it says of its parameters contradicts itself.
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"register_cell takes an instance of a subclass of Cell, got {cell!r}")
    problem = _problem(cell)
    if problem is not None:
        raise ValueError(f"cell {getattr(cell, 'name', cell)!r}: {problem}")
    if cell.name in _BUILT_IN and cell != CELLS[cell.name]:  # one's own may be imported twice
        raise ValueError(f"cell {cell.name!r}: the name is that of a cell of this package")
    _cells[cell.name] = cell
    return cell


def get_cell(cell: str | Cell, *, coupled_gates: bool = False) -> Cell:
    """A cell by its name, with f_t = 1 - i_t if `coupled_gates`; a `Cell` is taken as it is.

    Raises:
        ValueError: there is no cell of this name, or it has no forget gate to couple.
    """
    if isinstance(cell, Cell):
        found = cell
        problem = _problem(cell)
        if problem is not None:
            raise ValueError(f"cell {getattr(cell, 'name', cell)!r}: {problem}")
    elif cell in CELLS:
        found = CELLS[cell]
    else:
        raise ValueError(f"unknown cell {cell!r}: choose one of {', '.join(CELLS)}")
    return found.coupled() if coupled_gates else found


def _problem(cell: Cell) -> str | None:
    """What contradicts itself in the description of a cell."""
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
