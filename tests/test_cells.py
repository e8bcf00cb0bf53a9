"""The parts of each cell, compared with the paper's table."""

import pytest
from layer_oracle import PAPER
from relatives_oracle import RELATIVES

from fairseq_wsum import CELLS
from fairseq_wsum.cells import get_cell


def test_the_oracles_know_every_cell() -> None:
    assert [*PAPER, *RELATIVES] == list(CELLS)


@pytest.mark.parametrize("name", PAPER)
def test_a_cell_has_the_rows_of_the_paper(name: str) -> None:
    cell = get_cell(name)
    assert tuple("".join(r) for r in (cell.rows, cell.hidden_rows, cell.bias_rows)) == PAPER[name]
    assert cell.has_recurrent_matrix == bool(PAPER[name].h) == (not cell.is_gated_sum)


@pytest.mark.parametrize("name", [n for n in PAPER if n != "no-gates"])
def test_coupled_gates_have_no_forget_rows(name: str) -> None:
    cell = get_cell(name, coupled_gates=True)
    rows = (cell.rows, cell.hidden_rows, cell.bias_rows)
    assert tuple("".join(r) for r in rows) == tuple(r.replace("f", "") for r in PAPER[name])


@pytest.mark.parametrize("name", ["no-gates", *RELATIVES])
def test_coupled_gates_are_rejected_where_there_are_none_to_couple(name: str) -> None:
    with pytest.raises(ValueError, match=f"cell '{name}' has no forget gate of its own"):
        get_cell(name, coupled_gates=True)
