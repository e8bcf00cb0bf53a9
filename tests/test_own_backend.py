"""A backend of one's own, by its name."""

import pytest
import torch

from fairseq_wsum import WsumLSTM, backends
from fairseq_wsum.backends import Backend, reference, register_backend


@pytest.fixture
def calls(monkeypatch):
    """The cells that the backend `mine` ran; it computes what the reference does."""
    monkeypatch.setattr(backends, "BACKENDS", dict(backends.BACKENDS))
    names = []

    def run(cell, *args, **named):
        names.append(cell.name)
        return reference.run(cell, *args, **named)

    def why_not(cell, device, dtype, projects):
        return "it computes gated sums" if cell.has_recurrent_matrix else None

    register_backend(Backend("mine", run, why_not))
    return names


def test_a_backend_of_your_own_runs_a_layer_that_names_it(calls) -> None:
    x = torch.randn(5, 2, 3)
    layer = WsumLSTM(3, 4, cell="no-srnn-hidden", backend="mine")
    y, _ = layer(x)
    assert calls == ["no-srnn-hidden"]
    layer.backend = "reference"
    assert torch.equal(layer(x)[0], y)


def test_auto_never_takes_a_backend_of_your_own(calls) -> None:
    for name in ("lstm", "no-srnn-hidden", "sru"):
        WsumLSTM(3, 4, cell=name)(torch.randn(5, 2, 3))
    assert calls == []


def test_a_backend_of_your_own_says_what_it_cannot_run(calls) -> None:
    layer = WsumLSTM(3, 4, cell="lstm", backend="mine")
    with pytest.raises(RuntimeError, match="'mine' cannot run this layer: it computes gated sums"):
        layer(torch.randn(5, 2, 3))


@pytest.mark.parametrize("name", ["auto", "cpp"])
def test_the_name_of_a_backend_of_this_package_is_refused(name) -> None:
    with pytest.raises(ValueError, match=f"the name '{name}' is reserved"):
        register_backend(Backend(name, reference.run, reference.why_not))


def test_a_backend_of_your_own_replaces_itself(calls) -> None:
    order = list(backends.BACKENDS)
    again = Backend("mine", reference.run, reference.why_not)
    register_backend(again)  # as when a notebook runs a cell twice
    assert backends.BACKENDS["mine"] is again and list(backends.BACKENDS) == order
    WsumLSTM(3, 4, backend="mine")(torch.randn(5, 2, 3))
    assert calls == []


def test_the_models_take_it_by_its_name(calls) -> None:
    pytest.importorskip("fairseq")
    from translation import make_batch, make_model

    model = make_model(cell="no-srnn-hidden", lstm_backend="mine").float()
    model(*make_batch())
    assert set(calls) == {"no-srnn-hidden"}
