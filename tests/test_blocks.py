"""Stacks with layer normalisation, residuals and feed-forward blocks."""

import pytest
import torch
from layer_oracle import assert_same, oracle_layers, padded_batch
from torch import Tensor, nn

pytest.importorskip("fairseq")
from translation import BLOCKS, make_model

from fairseq_wsum import WsumLSTM
from fairseq_wsum.cells import get_cell
from fairseq_wsum.plugin.modules import LSTMBlocks

CELLS = ("lstm", "no-srnn-hidden", "no-gates", "mingru", "sru", get_cell("qrnn", window=2))
every_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: getattr(cell, "name", cell))
FORMS = {
    "all": dict(H=3, layer_norm=True, residuals=True, ffn_size=5),
    "other-width": dict(H=4, layer_norm=True, residuals=True),
    "both-ways": dict(H=2, bidirectional=True, layer_norm=True, ffn_size=5),
    "no-norms": dict(H=3, residuals=True, ffn_size=5),
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def make(cell, *, H: int = 3, dropout: float = 0.0, **form) -> LSTMBlocks:
    stack = LSTMBlocks(3, H, 3, nn.Dropout(dropout), cell=cell, **form).double()
    for parameter in stack.parameters():
        parameter.data.uniform_(-1, 1)
    return stack


def make_state(stack: LSTMBlocks, batch: int) -> tuple[Tensor, Tensor]:
    shape = stack.num_layers * stack.num_directions, batch, stack.output_size
    h_0, c_0 = torch.randn(2, *shape, dtype=torch.float64)
    return h_0, c_0


# The equations, one sequence at a time


def norm(module: nn.Module, x: Tensor) -> Tensor:
    if isinstance(module, nn.Identity):
        return x
    deviation = (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    return (x - x.mean(-1, keepdim=True)) / deviation * module.weight + module.bias


def oracle(stack: LSTMBlocks, form: dict, x: Tensor, h_0: Tensor, c_0: Tensor) -> list[Tensor]:
    h_n, c_n, directions = [], [], 2 if form.get("bidirectional") else 1
    for k, block in enumerate(stack.blocks):
        slots = slice(k * directions, (k + 1) * directions)
        y, h, c = oracle_layers(block.lstm, norm(block.norm, x), h_0[slots], c_0[slots])
        if form.get("residuals") and x.shape == y.shape:
            y = x + y
        if form.get("ffn_size"):
            f = block.feed_forward
            inner = torch.relu(norm(f.norm, y) @ f.fc1.weight.t() + f.fc1.bias)
            y = y + inner @ f.fc2.weight.t() + f.fc2.bias
        x = y
        h_n.append(h)
        c_n.append(c)
    return [norm(stack.norm, x), torch.cat(h_n), torch.cat(c_n)]


@every_cell
@every_form
@pytest.mark.parametrize("side", ["left", "right"])
def test_results_and_gradients_of_a_stack_equal_its_equations_whatever_padding_holds(
    cell, form, side
) -> None:
    stack = make(cell, **form)
    x, mask, alone = padded_batch([4, 1, 6], side)
    h_0, c_0 = make_state(stack, 3)
    shared = [h_0, c_0, *stack.parameters()]
    for part in (x, *alone, h_0, c_0):
        part.requires_grad_()
    y, (h_n, c_n, *_) = stack(x, (h_0, c_0), mask)
    assert not y[mask].any()
    found, expected = [], []
    for b, sequence in enumerate(alone):
        found += [y[~mask[:, b], b], h_n[:, b], c_n[:, b]]
        expected += oracle(stack, form, sequence, h_0[:, b], c_0[:, b])
        if stack.cell.hidden_is_memory:
            expected[-1] = c_0[:, b]
    assert_same(found, expected)

    cotangents = [torch.randn_like(part) for part in expected]
    given = dict(grad_outputs=cotangents, materialize_grads=True)
    dx, *gradients = torch.autograd.grad(found, [x, *shared], **given)
    wanted = torch.autograd.grad(expected, [*alone, *shared], **given)
    assert not dx[mask].any()
    assert_same([dx[~mask[:, b], b] for b in range(len(alone))], list(wanted[: len(alone)]))
    assert_same(gradients, list(wanted[len(alone) :]))


@every_cell
@every_form
def test_parts_of_a_sequence_give_the_result_of_the_whole(cell, form) -> None:
    stack = make(cell, **{**form, "bidirectional": False})
    x, state = torch.randn(5, 2, 3, dtype=torch.float64), make_state(stack, 2)
    whole, final = stack(x, state)
    outputs = []
    for part in x.split(2):
        y, state = stack(part, state)
        outputs.append(y)
    assert_same((torch.cat(outputs), *state), (whole, *final))


@every_cell
def test_a_stack_without_its_options_is_a_wsum_lstm(cell) -> None:
    """With residuals it is one if the first layer has another input size."""
    kind = dict(bidirectional=True, residuals=True, cell=cell)
    stack = make(cell, H=4, bidirectional=True, residuals=True)
    layer = WsumLSTM(3, 4, 3, dtype=torch.float64, **kind)
    for k, block in enumerate(stack.blocks):
        for name, parameter in block.lstm.named_parameters():
            getattr(layer, name.replace("_l0", f"_l{k}")).data = parameter.data
    x, mask, _ = padded_batch([4, 1, 6], "left")
    assert_same(stack(x, None, mask), layer(x, None, mask))
    state = tuple(torch.randn_like(part) for part in layer(x, None, mask)[1])
    assert_same(stack(x, state, mask), layer(x, state, mask))


def test_dropout_applies_to_each_part_before_the_addition() -> None:
    stack, x = make("lstm", dropout=1.0, **FORMS["all"]), torch.randn(5, 2, 3, dtype=torch.float64)
    assert_same(stack(x)[0], norm(stack.norm, x))
    assert not torch.equal(stack.eval()(x)[0], norm(stack.norm, x))


# In a model


def test_layer_normalisation_starts_at_the_identity() -> None:
    model = make_model(**BLOCKS, init_range=0.01)
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 2 * (2 + 2 + 1)  # before each layer and block, and after the last
    assert all((one.weight == 1).all() and not one.bias.any() for one in norms)
    others = {id(p) for p in model.parameters()} - {id(p) for n in norms for p in n.parameters()}
    assert all(p.abs().max() <= 0.01 for p in model.parameters() if id(p) in others)
