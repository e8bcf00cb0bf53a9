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
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", getattr(cell, "name", "")):
        return (
            "its name must consist of lower-case letters, digits and - _ . and begin with a letter "
            "or digit"
        )
    rows, weights = tuple(cell.rows), tuple(cell.weight_rows)
    if not weights or len(set(rows)) < len(rows) or rows != (*weights, *cell.skip_rows):
        return (
            f"its rows must be different letters, those with a matrix first, got {rows} with "
            f"skip_rows {tuple(cell.skip_rows)}"
        )
    for attribute, whole in (
        ("hidden_rows", rows),
        ("bias_rows", weights),
        ("inner_bias_rows", cell.hidden_rows),
    ):
        part = tuple(getattr(cell, attribute))
        if tuple(row for row in whole if row in part) != part:
            return f"{attribute} {part} must be some of {whole}, in that order"
    if cell.is_gated_sum and not cell.has_memory:
        return "it has neither a memory nor hidden_rows, so no step depends on the one before"
    if cell.window not in (1, 2):
        return f"its window must be 1 or 2, got {cell.window!r}"
    for row in cell.skip_rows:
        if cell.bias_rows and row in cell.hidden_rows and row not in cell.inner_bias_rows:
            return (
                f"its row {row!r} has no matrix W_*x, to whose bias that of W_*h could be "
                "added: list it in inner_bias_rows"
            )
    return None
