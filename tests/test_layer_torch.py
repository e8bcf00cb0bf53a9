"""`WsumLSTM` is a good citizen of torch: pickle, compile, autocast, 16 bits, `torch.func`."""

import copy
import io
import pickle
from itertools import permutations

import pytest
import torch
from layer_oracle import ALL_CELLS, assert_same, every_name, make, padded_batch
from torch.autograd import forward_ad

from fairseq_wsum import CELLS, WsumLSTM, products
from fairseq_wsum.cells import get_cell


@pytest.mark.parametrize(("cell", "coupled"), [("lstm", False), ("no-srnn", True), ("sru", False)])
def test_a_layer_survives_pickle_copy_and_state_dict(cell, coupled) -> None:
    layer = make(cell=cell, coupled_gates=coupled, num_layers=2)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    expected = layer(x)
    assert_same(pickle.loads(pickle.dumps(layer))(x), expected)
    assert_same(copy.deepcopy(layer)(x), expected)
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    assert list(layer.state_dict()) == [name for name, _ in layer.named_parameters()]
    fresh = make(cell=cell, coupled_gates=coupled, num_layers=2)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    assert_same(fresh(x), expected)


def test_the_cells_whose_weights_have_the_same_shapes() -> None:
    cells = [get_cell(name, coupled_gates=coupled) for name, coupled in ALL_CELLS]
    shapes = {
        cell.label: {
            name: value.shape for name, value in WsumLSTM(3, 4, cell=cell).named_parameters()
        }
        for cell in cells
    }
    equal = {frozenset((a, b)) for a, b in permutations(shapes, 2) if shapes[a] == shapes[b]}
    coupled = "{} with coupled gates".format
    groups = [
        ("no-srnn-out", coupled("no-srnn")),
        ("no-srnn-out-hidden", coupled("no-srnn-hidden")),
        ("no-out", "gru", coupled("lstm")),
        ("minlstm", "qrnn"),
    ]
    assert equal == {frozenset(pair) for group in groups for pair in permutations(group, 2)}


def test_repr_shows_options_that_differ_from_the_default() -> None:
    layer = WsumLSTM(3, 4, 2, bidirectional=True, cell="no-srnn", coupled_gates=True)
    assert repr(layer) == (
        "WsumLSTM(3, 4, num_layers=2, bidirectional=True, cell='no-srnn with coupled gates')"
    )


@pytest.mark.parametrize("cell", ["gru", "sru", "no-gates"])
def test_compile_traces_the_whole_layer(cell) -> None:
    torch._dynamo.reset()  # its limit of recompilations is for all layers together
    layer = make(cell=cell, bidirectional=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x, mask, _ = padded_batch([2, 1], "right")
    results = []
    for module in (compiled, layer):
        layer.zero_grad()
        y, state = module(x, None, mask)
        y.sum().backward()
        results.append((y, *state, [p.grad.clone() for p in layer.parameters()]))
    assert_same(*results)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_name
def test_autocast_uses_16_bits_for_products_and_32_for_the_memory_cell(cell, dtype) -> None:
    layer = WsumLSTM(8, 16, cell=cell)
    x = torch.rand(6, 2, 8)
    exact, (_, c_exact) = layer(x)
    with torch.autocast("cpu", dtype):
        y, (h_n, c_n) = layer(x)
    assert (y.dtype, h_n.dtype, c_n.dtype) == (dtype, dtype, torch.float32)
    torch.testing.assert_close(y.float(), exact, rtol=0.02, atol=0.01)
    torch.testing.assert_close(c_n, c_exact, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("by_step", [False, True], ids=["sequence", "steps"])
@pytest.mark.parametrize("autocast", [False, True], ids=["parameters", "autocast"])
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gates_and_sums_are_exact_in_16_bits(dtype, backend, autocast, by_step) -> None:
    kept = torch.float32 if autocast else dtype  # the dtype of parameters and inputs
    layer = WsumLSTM(1, 1, cell="no-srnn-out-hidden", dtype=kept, backend=backend).eval()
    f = torch.tensor(7.0).sigmoid().item()  # 0.9991; in bfloat16 the next number below 1 is 0.996
    # i = 1/2, content 2: every step adds 1
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=autocast):
        layer.weight_ih_l0.copy_(torch.tensor([[0.0], [0.0], [2.0]]))
        layer.bias_ih_l0.copy_(torch.tensor([0.0, 7.0]))
        state = torch.zeros(1, 1, 1, dtype=dtype), torch.zeros(1, 1, 1)
        for part in torch.ones(600, 1, 1, dtype=kept).split(1 if by_step else 600):
            y, state = layer(part, state)
    assert y.dtype == dtype
    assert state[1].item() == pytest.approx((1 - f**600) / (1 - f), rel=1e-4)


# torch.func and forward-mode derivatives


@pytest.fixture(params=[False, True], ids=["mkl", "onednn"])
def onednn(request, monkeypatch):
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("torch has no oneDNN")
    monkeypatch.setattr(products, "_choose", lambda name: request.param)


@pytest.mark.parametrize(
    ("cell", "onednn"),
    [*((name, False) for name in CELLS), ("lstm", True), ("no-srnn-hidden", True)],
    indirect=["onednn"],
)
def test_torch_func_transformations_are_correct(cell, onednn) -> None:
    layer = WsumLSTM(3, 5, cell=cell)
    x, direction = torch.randn(4, 2, 3), torch.randn(4, 2, 3)

    def loss(x, parameters=None):
        return torch.func.functional_call(layer, parameters or {}, (x,))[0].square().sum()

    x.requires_grad_()
    expected = torch.autograd.grad(loss(x), [x, *layer.parameters()])
    x = x.detach()
    parameters = {name: value.detach() for name, value in layer.named_parameters()}
    _, along = torch.func.jvp(loss, (x,), (direction,))
    torch.testing.assert_close(along, (expected[0] * direction).sum())
    gradients = torch.func.grad(loss, argnums=(0, 1))(x, parameters)
    torch.testing.assert_close((gradients[0], *gradients[1].values()), expected)

    def of_a_sequence(x):  # alone, in a batch of one
        return torch.func.grad(loss)(x.unsqueeze(1)).squeeze(1)

    each = torch.func.vmap(of_a_sequence, in_dims=1, out_dims=1)(x)
    torch.testing.assert_close(each, expected[0])


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("cell", ["lstm", "no-gates", "no-srnn-hidden"])
def test_many_gradients_may_be_computed_at_once(cell) -> None:
    """By vmap, or by autograd's own batches."""
    layer, x = WsumLSTM(3, 5, cell=cell), torch.randn(4, 2, 3, requires_grad=True)
    y = layer(x)[0]
    directions = torch.randn(6, *y.shape)

    def gradient(direction, **batched):
        return torch.autograd.grad(y, x, direction, retain_graph=True, **batched)[0]

    expected = torch.stack([gradient(direction) for direction in directions])
    torch.testing.assert_close(torch.vmap(gradient)(directions), expected)
    torch.testing.assert_close(gradient(directions, is_grads_batched=True), expected)


def test_forward_mode_derivatives_are_correct(onednn) -> None:
    layer = WsumLSTM(3, 5, cell="no-srnn-hidden").requires_grad_(False)
    x, direction = torch.randn(4, 2, 3), torch.randn(4, 2, 3)
    (_, expected) = torch.func.jvp(lambda x: layer(x)[0], (x,), (direction,))
    with forward_ad.dual_level():
        y, _ = layer(forward_ad.make_dual(x, direction))
        torch.testing.assert_close(forward_ad.unpack_dual(y).tangent, expected)
