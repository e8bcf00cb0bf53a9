"""A single time step without gradients takes a shorter way, with the same result."""

import pytest
import torch
from layer_oracle import assert_same, every_cell_and_projection, every_name, make, make_state
from torch.nn.utils import prune

from fairseq_wsum import WsumLSTM
from fairseq_wsum.layer import single_step


def both_ways(layer: WsumLSTM, x, hx, monkeypatch) -> tuple:
    """The short way and the usual one; fails if the first call does not take the short way."""
    used = []
    run = single_step.run
    monkeypatch.setattr(single_step, "run", lambda *given: used.append(1) or run(*given))
    with torch.no_grad():
        short = layer(x, hx)
        assert used
        monkeypatch.setattr(WsumLSTM, "_is_small_step", lambda *given: False)
        return short, layer(x, hx)


@every_cell_and_projection
def test_every_cell_gives_the_same(cell, coupled, proj_size, monkeypatch) -> None:
    layer = make(cell=cell, coupled_gates=coupled, proj_size=proj_size, num_layers=3).eval()
    x = torch.randn(1, 5, 3, dtype=torch.float64)
    (y, state), (y_usual, state_usual) = both_ways(layer, x, make_state(layer, 5), monkeypatch)
    assert_same((y, *state), (y_usual, *state_usual))


@pytest.mark.parametrize("wide", [False, True], ids=["16-bit-c", "32-bit-c"])
@every_name
def test_dtypes_are_the_same_in_16_bits(cell, wide, monkeypatch) -> None:
    layer = WsumLSTM(8, 8, cell=cell, dtype=torch.bfloat16).eval()
    x, h = torch.randn(1, 2, 8).bfloat16(), torch.randn(1, 2, 8).bfloat16()
    c = torch.randn(1, 2, 8, dtype=torch.float32 if wide else torch.bfloat16)
    (y, state), (y_usual, state_usual) = both_ways(layer, x, (h, c), monkeypatch)
    assert [t.dtype for t in (y, *state)] == [t.dtype for t in (y_usual, *state_usual)]
    assert_same((y, *state), (y_usual, *state_usual), rtol=0.02, atol=0.02)


def test_a_pruned_layer_takes_the_short_way_with_what_is_left(monkeypatch) -> None:
    layer = make(cell="no-srnn").eval()
    prune.l1_unstructured(layer, "weight_ih_l0", 0.5)  # the parameter has another name now
    x = torch.randn(1, 2, 3, dtype=torch.float64)
    (y, state), (y_usual, state_usual) = both_ways(layer, x, make_state(layer, 2), monkeypatch)
    assert_same((y, *state), (y_usual, *state_usual))


@pytest.mark.parametrize("residuals", [False, True], ids=["plain", "residuals"])
def test_a_dropout_module_that_is_active_in_decoding_drops(residuals, monkeypatch) -> None:
    dropout = torch.nn.Dropout(0.5)
    layer = make(num_layers=3, residuals=residuals, dropout=dropout).eval()
    dropout.train()  # as fairseq's --retain-dropout
    x = torch.randn(1, 2, 3, dtype=torch.float64)
    drop = dropout.forward

    def seeded(x):
        assert x.dim() == 3  # T x B x H: locked dropout has one mask for all of T
        torch.manual_seed(0)
        return drop(x)

    monkeypatch.setattr(dropout, "forward", seeded)
    (y, state), (y_usual, state_usual) = both_ways(layer, x, make_state(layer, 2), monkeypatch)
    assert_same((y, *state), (y_usual, *state_usual))
    dropout.eval()
    assert not torch.equal(layer(x)[0], y)


@torch.no_grad()
def test_a_step_leaves_out_padding_and_records_a_pass() -> None:
    layer, passes = make(num_layers=1).eval(), []
    x, (h, c) = torch.randn(1, 2, 3, dtype=torch.float64), make_state(layer, 2)
    mask = torch.tensor([[True, False]])
    y, (h_n, c_n) = layer(x, (h, c), padding_mask=mask, record=passes.append)
    assert not y[0, 0].any() and len(passes) == 1
    assert torch.equal(h_n[:, 0], h[:, 0]) and torch.equal(c_n[:, 0], c[:, 0])
    y_usual, state_usual = layer(x, (h, c))
    assert_same((y[:, 1], h_n[:, 1]), (y_usual[:, 1], state_usual[0][:, 1]))


def given(T: int = 1, B: int = 2, I: int = 3, dtype=torch.float32) -> tuple:  # noqa: E741
    return torch.randn(T, B, I, dtype=dtype), (torch.zeros(1, B, 4), torch.zeros(1, B, 4))


USUAL = {
    "two-steps": ({}, dict(T=2)),
    "features": ({}, dict(I=2)),  # so that the usual error appears
    "dtype": ({}, dict(dtype=torch.float64)),
    "many": ({}, dict(B=512)),  # of 4 units each; the kernels are faster
    "many-of-a-gated-sum": (dict(cell="no-srnn-hidden"), dict(B=8192)),
    "both-directions": (dict(bidirectional=True), {}),
    "batch-first": (dict(batch_first=True), {}),
    "backend": (dict(backend="cpp"), {}),
    "layers": (dict(num_layers=2), {}),
    "window": (dict(cell="qrnn", window=2), {}),
}


@pytest.mark.parametrize(("options", "sizes"), USUAL.values(), ids=USUAL)
def test_what_the_short_way_cannot_do_takes_the_usual_one(options, sizes) -> None:
    assert not WsumLSTM(3, 4, **options).eval()._is_small_step(*given(**sizes))


def test_training_and_autocast_take_the_usual_way() -> None:
    layer = WsumLSTM(3, 4)
    assert not layer._is_small_step(*given())
    layer.eval()
    assert layer._is_small_step(*given(B=511))
    with torch.autocast("cpu", torch.bfloat16):
        assert not layer._is_small_step(*given())


def test_a_step_with_gradients_takes_the_usual_way(monkeypatch) -> None:
    monkeypatch.setattr(single_step, "run", None)
    layer = WsumLSTM(3, 4).eval()
    y, _ = layer(*given())
    y.sum().backward()
    assert layer.weight_ih_l0.grad is not None
