"""A backend of one's own, by its name."""

import pytest
import torch

from fairseq_wsum import WsumLSTM, recurrence
from fairseq_wsum.recurrence import Backend, reference


def test_a_backend_of_your_own_runs_the_layers_and_models_that_name_it(monkeypatch) -> None:
    ran = []

    def run(given):
        ran.append(given.cell.name)
        return reference.run(given)

    def why_not(cell, device, dtype, projects):
        return "it computes gated sums" if cell.has_recurrent_matrix else None

    monkeypatch.setitem(recurrence.BACKENDS, "mine", Backend("mine", run, why_not))
    x = torch.randn(5, 2, 3)
    for cell in ("lstm", "no-srnn-hidden", "sru"):
        WsumLSTM(3, 4, cell=cell)(x)
    assert ran == []  # `auto` never takes it
    layer = WsumLSTM(3, 4, cell="no-srnn-hidden", backend="mine")
    y, _ = layer(x)
    assert ran == ["no-srnn-hidden"]
    layer.backend = "reference"
    assert torch.equal(layer(x)[0], y)
    with pytest.raises(RuntimeError, match="'mine' cannot run this layer: it computes gated sums"):
        WsumLSTM(3, 4, backend="mine")(x)
    pytest.importorskip("fairseq")
    from translation import make_batch, make_model

    make_model(cell="no-srnn-hidden", lstm_backend="mine").float()(*make_batch())
    assert set(ran) == {"no-srnn-hidden"} and len(ran) > 1
