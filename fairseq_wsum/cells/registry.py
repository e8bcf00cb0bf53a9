"""The registry of cells by name: those of this package, and those of `register_cell`."""

from __future__ import annotations

import re
from types import MappingProxyType

from . import probe
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

# The attributes of a cell that list names.
_NAMES = ("rows", "hidden_rows", "skip_rows", "bias_rows", "inner_bias_rows", "vectors")

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
            inconsistent or contradicts the equations.
    """
    _check(cell)
    if cell.name in _BUILT_IN and cell != CELLS[cell.name]:  # user modules may be imported twice
        raise ValueError(
            f"cell {cell.name!r}: the name is that of a cell of this package; give yours another, "
            f"such as {type(cell).__name__}(name=...) if it is a subclass of one of them"
        )
    _cells[cell.name] = cell
    return cell


def get_cell(cell: str | Cell, *, coupled_gates: bool = False, window: int | None = None) -> Cell:
    """Look up a cell by name, or check a `Cell`.

    Args:
        cell: a name or a cell.
        coupled_gates: replace the forget gate by f_t = 1 - i_t.
        window: the number of inputs that a step reads; None for that of the cell.

    Raises:
        TypeError: `cell` is neither.
        ValueError: the name is unknown, the description of the cell is inconsistent, or the cell
            has no forget gate of its own to couple, or no such window.
    """
    if not isinstance(cell, str):
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
    if not isinstance(cell, Cell):
        raise TypeError(f"a cell must be an instance of a subclass of Cell, got {cell!r}")
    problem = _problem(cell)
    if problem is not None:
        raise ValueError(f"cell {getattr(cell, 'name', cell)!r}: {problem}")


def _problem(cell: Cell) -> str | None:
    """What is inconsistent in the description of a cell, or None."""
    name = getattr(cell, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name):
        return (
            "its name must consist of lower-case letters, digits and - _ . and begin with a letter "
            "or digit"
        )
    for attribute in _NAMES:
        names = getattr(cell, attribute, ())
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            return f"{attribute} must be a tuple of names, got {names!r}"
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
    if not cell.weight_rows:
        return f"skip_rows {cell.skip_rows} must not be all of its rows"
    if cell.inner_bias_rows and not cell.bias_rows:
        return f"inner_bias_rows {cell.inner_bias_rows} need bias_rows"
    if cell.bias_rows:
        for row in cell.skip_rows:
            if row in cell.hidden_rows and row not in cell.inner_bias_rows:
                return (
                    f"its row {row!r} has no matrix W_*x, to whose bias that of W_*h could be "
                    "added: list it in inner_bias_rows"
                )
    for name in cell.vectors:
        if not name.isidentifier() or name.startswith(("weight_", "bias_")):
            return f"a vector cannot have the name {name!r}"
    if len(set(cell.vectors)) < len(cell.vectors):
        return f"its vectors must have different names, got {cell.vectors}"
    if cell.window not in (1, 2):
        return f"its window must be 1 or 2, got {cell.window}"
    if cell.hidden_is_memory and cell.can_project:
        return "its memory is its output, so it cannot have a projection: leave out can_project"
    if not cell.has_memory and not cell.hidden_rows:
        return "without a memory cell and hidden_rows nothing links two time steps"
    return probe.problem(cell)
