"""What each cell has, against the table of the paper."""

import pytest

from fairseq_wsum import ABLATIONS
from fairseq_wsum.ablation import get_ablation

# name: rows computed from x_t, rows computed from h_{t-1}, rows with a bias; torch's order
ROWS = {
    "lstm": ("ifco", "ifco", "ifco"),
    "no-srnn": ("ifco", "ifo", "ifo"),
    "no-srnn-out": ("ifc", "if", "if"),
    "no-srnn-hidden": ("ifco", "", "ifo"),
    "no-gates": ("c", "c", "c"),
    "no-srnn-out-hidden": ("ifc", "", "if"),
    "no-out": ("ifc", "ifc", "ifc"),
    "no-hidden": ("ifco", "c", "ifco"),
}


def test_the_table_has_every_ablation() -> None:
    assert set(ROWS) == set(ABLATIONS)


@pytest.mark.parametrize("name", ROWS)
def test_a_cell_has_the_rows_of_the_paper(name: str) -> None:
    cell = get_ablation(name)
    rows = (cell.input_rows, cell.hidden_rows, cell.input_bias_rows)
    assert tuple("".join(r) for r in rows) == ROWS[name]
    assert cell.is_recurrent == bool(ROWS[name][1])


@pytest.mark.parametrize("name", [n for n in ROWS if n != "no-gates"])
def test_coupled_gates_have_no_forget_rows(name: str) -> None:
    cell = get_ablation(name, coupled_gates=True)
    rows = (cell.input_rows, cell.hidden_rows, cell.input_bias_rows)
    assert tuple("".join(r) for r in rows) == tuple(r.replace("f", "") for r in ROWS[name])


def test_an_unknown_ablation_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown ablation 'no-lstm'.*no-srnn-hidden"):
        get_ablation("no-lstm")


def test_coupled_gates_without_gates_are_an_error() -> None:
    with pytest.raises(ValueError, match="coupled_gates=True needs gates"):
        get_ablation("no-gates", coupled_gates=True)
