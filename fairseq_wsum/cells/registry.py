"""The registry of cells by name: those of this package, and those of `register_cell`."""

from __future__ import annotations

import re
from types import MappingProxyType

from .cell import Cell
from .gru import GRU
from .lstm import ABLATIONS
from .mingru import MinGRU
from .minlstm import MinLSTM
from .qrnn import QRNN
from .sru import SRU

RELATIVES = (GRU(), MinGRU(), MinLSTM(), QRNN(), SRU())

_cells: dict[str, Cell] = {cell.name: cell for cell in (*ABLATIONS, *RELATIVES)}
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


def get_cell(cell: str | Cell, *, coupled_gates: bool = False, window: int | None = None) -> Cell:
    """Look up a cell by name, or check a `Cell`.

    Args:
        cell: a name or a cell.
        coupled_gates: replace the forget gate by f_t = 1 - i_t.
        window: the number of inputs that a step reads; None for that of the cell.

    Raises:
        ValueError: the name is unknown, the description of the cell is inconsistent, or the cell
            has no forget gate to couple or no such window.
    """
    if isinstance(cell, Cell):
        _check(cell)
        found = cell
    elif cell in CELLS:
        found = CELLS[cell]
    else:
        raise ValueError(f"unknown cell {cell!r}: choose one of {', '.join(CELLS)}")
    if window is not None:
        found = found.with_window(window)
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
        ("bias_rows", cell.weight_rows),
        ("inner_bias_rows", cell.hidden_rows),
    ):
        part = getattr(cell, attribute)
        if tuple(row for row in whole if row in part) != tuple(part):
            return f"{attribute} {part} must be some of {whole}, in that order"
    if cell.rows != (*cell.weight_rows, *cell.skip_rows):
        return f"skip_rows {cell.skip_rows} must be the last of {rows}"
    if cell.window not in (1, 2):
        return f"its window must be 1 or 2, got {cell.window}"
    if cell.hidden_is_memory and cell.can_project:
        return "its memory is its output, so it cannot have a projection: set can_project = False"
    if not cell.has_memory and not cell.hidden_rows:
        return "without a memory cell and hidden_rows nothing links two time steps"
    return None
