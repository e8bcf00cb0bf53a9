"""`WsumLSTM` against its oracles: the equations written out, and torch's own modules."""

import pytest
import torch
from layer_oracle import (
    MODULES,
    assert_same,
    every_cell_and_projection,
    every_name,
    make,
    make_state,
    oracle_layers,
    padded_batch,
)
from torch import Tensor, nn

from fairseq_wsum import WsumLSTM


def assert_equations(layer: WsumLSTM, T: int, B: int) -> None:
    x = torch.randn(T, B, 3, dtype=torch.float64)
    h_0, c_0 = make_state(layer, B)
    y, (h_n, c_n) = layer(x, (h_0, c_0))
    for b in range(B):
        expected = oracle_layers(layer, x[:, b], h_0[:, b], c_0[:, b])
        assert_same((y[:, b], h_n[:, b], c_n[:, b]), expected)


@pytest.mark.parametrize(("T", "B"), [(5, 3), (1, 3), (4, 1), (1, 1)])
@every_cell_and_projection
def test_every_cell_agrees_with_the_equations(cell, coupled, proj_size, T, B) -> None:
    options = dict(cell=cell, coupled_gates=coupled, proj_size=proj_size)
    assert_equations(make(num_layers=2, bidirectional=True, **options), T, B)


def test_the_initial_state_defaults_to_zero() -> None:
    layer = make(proj_size=2)
    x = torch.randn(4, 3, 3, dtype=torch.float64)
    zeros = tuple(torch.zeros_like(s) for s in make_state(layer, 3))
    assert_same(layer(x), layer(x, zeros))


@every_name
def test_bias_false_removes_all_biases(cell) -> None:
    layer = make(cell=cell, bias=False)
    assert not [name for name, _ in layer.named_parameters() if "bias" in name]
    assert_equations(layer, T=4, B=1)


# torch's modules

TORCH_KINDS = {
    "one-layer": dict(),
    "no-bias": dict(bias=False),
    "all": dict(num_layers=2, bidirectional=True, batch_first=True),
}


@pytest.mark.parametrize("kind", TORCH_KINDS.values(), ids=TORCH_KINDS)
@pytest.mark.parametrize(
    ("cell", "proj_size"), [("lstm", 0), ("lstm", 2), ("no-gates", 0), ("gru", 0)]
)
def test_a_cell_that_torch_has_equals_torchs_module(cell, proj_size, kind) -> None:
    """Outputs, final states and all gradients, with random cotangents on all of them."""
    ours = make(cell=cell, proj_size=proj_size, **kind)
    sizes = dict(proj_size=proj_size) if proj_size else {}
    theirs = MODULES[ours.cell.name](3, 4, dtype=torch.float64, **sizes, **kind)
    theirs.load_state_dict(ours.state_dict())
    names = [[name for name, _ in module.named_parameters()] for module in (ours, theirs)]
    assert names[0] == names[1]
    assert_same(ours.all_weights, theirs.all_weights)
    ours.flatten_parameters()
    x = torch.randn(5, 5, 3, dtype=torch.float64, requires_grad=True)
    h_0, c_0 = (part.requires_grad_() for part in make_state(ours, 5))
    results = []
    for module in (ours, theirs):
        y, state = module(x, h_0 if isinstance(module, (nn.RNN, nn.GRU)) else (h_0, c_0))
        outputs = [y, *(state if isinstance(state, tuple) else [state])][
            : 3 if cell == "lstm" else 2
        ]
        torch.manual_seed(1)
        loss = sum((out * torch.randn_like(out)).sum() for out in outputs)
        inputs = [x, h_0, *([c_0] if cell == "lstm" else []), *module.parameters()]
        results.append((outputs, torch.autograd.grad(loss, inputs)))
    assert_same(*results)


def test_parameters_are_initialised_in_torchs_range() -> None:
    for parameter in WsumLSTM(30, 64).parameters():
        assert 0.9 / 8 < parameter.abs().max() <= 1 / 8


# Gradients


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@every_cell_and_projection
def test_gradients_are_correct_to_the_second_order(cell, coupled, proj_size, masked) -> None:
    sizes = dict(I=1, H=3 if proj_size else 2, proj_size=proj_size)  # numerical, and so slow
    layer = make(cell=cell, coupled_gates=coupled, bidirectional=True, **sizes)
    x = torch.randn(3, 2, 1, dtype=torch.float64, requires_grad=True)
    state = [s.requires_grad_() for s in make_state(layer, 2)]
    mask = torch.tensor([[False, True], [False, False], [True, False]]) if masked else None
    names, parameters = zip(*layer.named_parameters(), strict=True)
    weights: list[Tensor] = []

    def loss(x, h_0, c_0, *values):
        y, (h_n, c_n) = torch.func.functional_call(
            layer, dict(zip(names, values, strict=True)), (x, (h_0, c_0), mask)
        )
        outputs = (y, h_n, c_n)
        if not weights:  # random cotangents on the output and on both final states
            weights.extend(torch.randn_like(out) for out in outputs)
        return sum((out * w).sum() for out, w in zip(outputs, weights, strict=True))

    inputs = (x, *state, *parameters)
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)
    if not masked and not proj_size:
        assert torch.autograd.gradgradcheck(loss, inputs, fast_mode=True)


class Doubled(nn.Module):
    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place

    def forward(self, x):
        return x.mul_(2) if self.in_place else 2 * x


@pytest.mark.parametrize("in_place", [False, True], ids=["a-copy", "in-place"])
@pytest.mark.parametrize("residuals", [False, True], ids=["plain", "residuals"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("cell", ["no-srnn", "no-srnn-hidden", "mingru"])
def test_a_dropout_module_applies_between_layers(cell, bidirectional, residuals, in_place) -> None:
    options = dict(bidirectional=bidirectional, cell=cell)
    dropout = Doubled(in_place)
    layer = make(num_layers=2, residuals=residuals, dropout=dropout, **options)
    first, second = make(**options), make(I=8 if bidirectional else 4, **options)
    for name, parameter in layer.named_parameters():
        part = first if "_l0" in name else second
        getattr(part, name.replace("_l1", "_l0")).data = parameter.data
    x, mask, _ = padded_batch([4, 2], "left")
    below, (h, c) = first(x, None, mask)
    y, (h_above, c_above) = second(2 * below, None, mask)
    y = y + below if residuals else y
    found, (h_n, c_n) = layer(x, None, mask)
    assert_same((found, h_n, c_n), (y, torch.cat((h, h_above)), torch.cat((c, c_above))))
    gradients = torch.autograd.grad(found.sum() + h_n.sum(), list(layer.parameters()))
    wanted = [*first.parameters(), *second.parameters()]
    expected = torch.autograd.grad(y.sum() + h.sum() + h_above.sum(), wanted)
    assert_same(gradients, expected)
