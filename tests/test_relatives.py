"""What is special about the LSTM's relatives: states, windows, the SRU's input, initial values."""

import math

import pytest
import torch
from cpp_oracle import needs_kernels
from layer_oracle import assert_same, make, make_state, padded_batch
from relatives_oracle import qrnn, sru

from fairseq_wsum import WsumLSTM
from fairseq_wsum.cells import SRU, MinLSTM, get_cell

DOUBLE = {"dtype": torch.float64}
H_ALONE = ("gru", "mingru", "minlstm")
every_backend = pytest.mark.parametrize(
    "backend", ["reference", pytest.param("cpp", marks=needs_kernels)]
)


# Cells whose h_t is the memory cell


@pytest.mark.parametrize("cell", H_ALONE)
@every_backend
def test_the_state_of_a_cell_without_a_memory_of_its_own_is_h(cell, backend) -> None:
    layer = WsumLSTM(3, 4, 2, cell=cell, backend=backend, bidirectional=True)
    x, h_0, c_0 = torch.randn(5, 2, 3), torch.randn(4, 2, 4), torch.randn(4, 2, 4)
    y, (h_n, c_n) = layer(x, (h_0, c_0))
    other, (h, c) = layer(x, (h_0, torch.zeros_like(c_0)))
    assert torch.equal(y, other) and torch.equal(h_n, h)
    assert torch.equal(c_n, c_0) and not c.any()


@every_backend
def test_a_min_lstm_divides_two_vanishing_gates(backend) -> None:
    layer = WsumLSTM(1, 4, cell="minlstm", backend=backend)
    f, i = torch.tensor([-300.0, -200.0, -90.0, -1e4]), torch.tensor([-300.0, -201.0, 90.0, -1e4])
    with torch.no_grad():
        layer.weight_ih_l0.zero_()
        layer.bias_ih_l0.copy_(torch.cat((f, i, torch.ones(4))))
    y, _ = layer(torch.zeros(1, 1, 1), (torch.zeros(1, 1, 4),) * 2)
    expected = torch.tensor([0.5, 1 / (1 + math.e), 1, 0.5])  # i / (f + i)
    torch.testing.assert_close(y[0, 0], expected)
    y.sum().backward()
    assert layer.bias_ih_l0.grad.isfinite().all()
    gates = 0.25, math.e / (1 + math.e) ** 2, 0.0, 0.25
    torch.testing.assert_close(layer.bias_ih_l0.grad[:4], -torch.tensor(gates))


# The window of the QRNN


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_window_reads_the_input_before_and_skips_padding(side) -> None:
    layer = make(cell="qrnn", window=2, bidirectional=True)
    x, mask, alone = padded_batch([5, 1, 7, 3], side)
    h_0, c_0 = make_state(layer, 4)
    x_0 = torch.randn(2, 4, 3, **DOUBLE)
    y, (_, c_n, x_n) = layer(x, (h_0, c_0, x_0), mask)
    for b, sequence in enumerate(alone):
        for d in (0, 1):
            steps = sequence.flip(0) if d else sequence
            given = (layer.cell, layer.layer_parameters(0, d), steps, h_0[d, b], c_0[d, b])
            expected, _, c = qrnn(*given, before=x_0[d, b])
            assert_same(y[~mask[:, b], b].chunk(2, -1)[d], expected.flip(0) if d else expected)
            assert_same(c_n[d, b], c)
            assert_same(x_n[d, b], steps[-1])


def test_a_window_skips_holes_and_an_empty_sequence_keeps_it() -> None:
    layer = make(cell="qrnn", window=2)
    x, state = (
        torch.randn(6, 2, 3, **DOUBLE),
        (*make_state(layer, 2), torch.randn(1, 2, 3, **DOUBLE)),
    )
    mask = torch.tensor([[0, 1], [1, 1], [0, 1], [1, 1], [1, 1], [0, 1]]).bool()
    y, (_, c_n, x_n) = layer(x, state, mask)
    first = tuple(part[:, :1] for part in state)
    alone, (_, c, last) = layer(x[~mask[:, 0], :1], first)
    assert_same(y[~mask[:, 0], :1], alone)
    assert_same((c_n[:, :1], x_n[:, :1]), (c, last))
    assert_same((c_n[:, 1], x_n[:, 1]), (state[1][:, 1], state[2][:, 1]))


@every_backend
@pytest.mark.parametrize("cut", [1, 3])
def test_a_window_carries_over_from_part_to_part(cut, backend) -> None:
    layer = WsumLSTM(3, 4, 3, cell="qrnn", window=2, residuals=True, backend=backend)
    x = torch.randn(7, 2, 3)
    whole, state = layer(x)
    first, carried = layer(x[:cut])
    second, last = layer(x[cut:], carried)
    torch.testing.assert_close(torch.cat((first, second)), whole)
    assert [tuple(part.shape) for part in last] == [(3, 2, 4), (3, 2, 4), (1, 2, 3 + 4 + 4)]
    torch.testing.assert_close(last, state)
    pair, _ = layer(x, carried[:2])  # without the third part the window starts with zeros
    torch.testing.assert_close(pair, layer(x, (*carried[:2], torch.zeros(1, 2, 11)))[0])


def test_gradients_reach_the_inputs_before_a_window() -> None:
    layer = make(I=2, H=2, num_layers=2, cell="qrnn", window=2, bidirectional=True)
    x = torch.randn(3, 2, 2, **DOUBLE, requires_grad=True)
    state = [*make_state(layer, 2), torch.randn(2, 2, 2 + 4, **DOUBLE)]
    mask = torch.tensor([[0, 1], [0, 0], [1, 0]]).bool()

    def run(x, h_0, c_0, x_0):
        y, last = layer(x, (h_0, c_0, x_0), mask)
        return y, *last

    inputs = (x, *(part.requires_grad_() for part in state))
    assert torch.autograd.gradcheck(run, inputs)


def test_a_sequence_without_a_batch_and_batch_first_have_windows_too() -> None:
    layer = make(cell="qrnn", window=2)
    x = torch.randn(5, 3, **DOUBLE)
    y, (_, c_n, x_n) = layer(x)
    assert c_n.shape == (1, 4) and torch.equal(x_n, x[-1:])
    layer.batch_first = True
    whole, state = layer(x[None])
    assert_same(whole[0], y)
    assert_same(state[2][:, 0], x_n)


# The SRU


@pytest.mark.parametrize("features", [4, 3], ids=["equal-sizes", "other-sizes"])
@pytest.mark.parametrize("cell", [SRU(), SRU(highway_bias=-2.0)], ids=["usual", "biased"])
def test_an_sru_adds_its_input_scaled_or_multiplied(cell, features) -> None:
    layer = make(I=features, cell=cell)
    assert len(layer.weight_ih_l0) == (3 if features == 4 else 4) * 4
    x, c_0 = torch.randn(5, features, **DOUBLE), torch.randn(4, **DOUBLE)
    y, (_, c_n) = layer(x, (torch.zeros(1, 4, **DOUBLE), c_0[None]))
    expected, _, c = sru(cell, layer.layer_parameters(0), x, c_0, c_0)
    assert_same((y, c_n[0]), (expected, c))


def test_an_sru_multiplies_its_input_on_request() -> None:
    layer = WsumLSTM(7, 7, cell=SRU(projects_input=True))
    assert layer.weight_ih_l0.shape == (28, 7)


@pytest.mark.parametrize("bias", [0.0, -2.0])
def test_a_new_sru_passes_on_the_variance_of_its_input(bias) -> None:
    cell = SRU(highway_bias=bias)
    layer = WsumLSTM(400, 400, 4, cell=cell)
    for name, parameter in layer.named_parameters():
        if name.startswith("weight"):
            assert parameter[:400].var().item() == pytest.approx(1 / 400, rel=0.02)
            assert parameter[400:].var().item() == pytest.approx(0.5 / 400, rel=0.02)
        elif name.startswith("v_"):
            assert parameter.var().item() == pytest.approx(0.5, rel=0.15)
        else:
            assert parameter.tolist() == [0.0] * 400 + [bias] * 400
    y, _ = layer(torch.randn(30, 8, 400))
    assert 0.7 < y[10:].var() < 1.4  # without the scaling, 0.1 and 0.5 after four layers


# Initial values, and bad options


def test_a_min_lstm_starts_by_keeping_more_than_it_adds() -> None:
    for cell, bias in (("minlstm", 1.0), (MinLSTM(forget_bias=-0.5), -0.5)):
        layer = WsumLSTM(3, 5, 2, cell=cell, bidirectional=True)
        for name, parameter in layer.named_parameters():
            if "bias" in name:
                assert parameter[:5].eq(bias).all() and parameter[5:].abs().max() < 1 / 5**0.5
    assert "bias_ih_l0" not in dict(WsumLSTM(3, 5, cell="minlstm", bias=False).named_parameters())


def test_the_settings_of_a_cell_are_in_its_label() -> None:
    cells = [get_cell("qrnn"), get_cell("qrnn", window=2), get_cell("sru"), SRU(highway_bias=-2.0)]
    assert len({cell.label for cell in cells}) == 4
    assert "cell='sru with highway_bias -2'" in repr(WsumLSTM(3, 4, cell=cells[-1]))
