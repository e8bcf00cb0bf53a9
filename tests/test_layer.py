"""`WsumLSTM` against its oracles: the equations written out, and torch's own modules.

T time steps, B sequences, I input features, H hidden units, P features of h.
"""

import copy
import io
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils._python_dispatch import TorchDispatchMode

from fairseq_wsum import ABLATIONS, WsumLSTM, products
from fairseq_wsum.backends import BACKENDS

CELLS = [(name, False) for name in ABLATIONS] + [
    (name, True) for name in ABLATIONS if name != "no-gates"
]
CELL_IDS = [name + ("-coupled" if coupled else "") for name, coupled in CELLS]
every_cell = pytest.mark.parametrize(("ablation", "coupled"), CELLS, ids=CELL_IDS)
every_ablation = pytest.mark.parametrize("ablation", ABLATIONS)

SHAPES = {
    "usual": dict(T=5, B=3),
    "one-step": dict(T=1, B=3),
    "one-sequence": dict(T=4, B=1),
    "one-of-each": dict(T=1, B=1),
}


def oracle(
    layer: WsumLSTM, x: Tensor, h: Tensor, c: Tensor, suffix: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The paper's equations for one direction, one sequence and one step at a time.

    Written from the paper, case by case, and on purpose not from the package's description of a
    cell. x: T x I; h: P; c: H.
    """
    name, n = layer.ablation, layer.hidden_size
    srnn = "srnn" not in name
    hidden = "hidden" not in name
    order = [
        row
        for row in "ifco"
        if not (row == "o" and "out" in name) and not (row == "f" and layer.coupled_gates)
    ]
    if name == "no-gates":
        order = ["c"]

    def block(parameter: str, rows: list[str], row: str) -> Tensor | None:
        tensor = getattr(layer, parameter + suffix, None)
        if tensor is None or row not in rows:
            return None
        k = rows.index(row)
        return tensor[k * n : (k + 1) * n]

    hidden_order = [r for r in order if (srnn if r == "c" else hidden)]
    bias_order = [r for r in order if r != "c" or srnn]

    def z(row: str, x_t: Tensor, h: Tensor) -> Tensor:
        w_x = block("weight_ih", order, row)
        assert w_x is not None
        value = w_x @ x_t
        w_h = block("weight_hh", hidden_order, row)
        if w_h is not None:
            value = value + w_h @ h
        for bias in (
            block("bias_ih", bias_order, row),
            block("bias_hh", hidden_order, row),
        ):
            if bias is not None:
                value = value + bias
        return value

    outputs = []
    for x_t in x:
        content = z("c", x_t, h)
        if srnn:
            content = torch.tanh(content)
        if name == "no-gates":
            h = content
        else:
            i = torch.sigmoid(z("i", x_t, h))
            f = 1 - i if layer.coupled_gates else torch.sigmoid(z("f", x_t, h))
            o = torch.ones(n, dtype=x.dtype) if "out" in name else torch.sigmoid(z("o", x_t, h))
            c = i * content + f * c
            h = o * torch.tanh(c)
        if layer.proj_size:
            h = getattr(layer, "weight_hr" + suffix) @ h
        outputs.append(h)
    return torch.stack(outputs), h, c


def oracle_layers(
    layer: WsumLSTM, x: Tensor, h_0: Tensor, c_0: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """All layers and directions of one sequence: T x I -> T x D*P, and both final states."""
    h_n, c_n = [], []
    for k in range(layer.num_layers):
        outputs = []
        for d in range(layer.num_directions):
            slot = k * layer.num_directions + d
            suffix = f"_l{k}" + ("_reverse" if d else "")
            steps = x.flip(0) if d else x
            y, h, c = oracle(layer, steps, h_0[slot], c_0[slot], suffix)
            outputs.append(y.flip(0) if d else y)
            h_n.append(h)
            c_n.append(c)
        x = torch.cat(outputs, dim=-1)
    return x, torch.stack(h_n), torch.stack(c_n)


def make(I: int = 3, H: int = 4, **kwargs) -> WsumLSTM:  # noqa: E741
    return WsumLSTM(I, H, dtype=torch.float64, **kwargs)


def make_state(layer: WsumLSTM, batch: int) -> tuple[Tensor, Tensor]:
    slots = layer.num_layers * layer.num_directions
    dtype = layer.weight_ih_l0.dtype
    return (
        torch.randn(slots, batch, layer.output_size, dtype=dtype),
        torch.randn(slots, batch, layer.hidden_size, dtype=dtype),
    )


def assert_same(actual, expected, **tolerance) -> None:
    torch.testing.assert_close(actual, expected, **tolerance)


# The equations


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("proj_size", [0, 2], ids=["plain", "projected"])
@every_cell
def test_every_cell_agrees_with_the_equations(ablation, coupled, proj_size, shape) -> None:
    layer = make(
        ablation=ablation,
        coupled_gates=coupled,
        proj_size=proj_size,
        num_layers=2,
        bidirectional=True,
    )
    x = torch.randn(shape["T"], shape["B"], 3, dtype=torch.float64)
    h_0, c_0 = make_state(layer, shape["B"])
    y, (h_n, c_n) = layer(x, (h_0, c_0))
    for b in range(shape["B"]):
        expected = oracle_layers(layer, x[:, b], h_0[:, b], c_0[:, b])
        assert_same((y[:, b], h_n[:, b], c_n[:, b]), expected)


@every_ablation
def test_the_initial_state_is_zero_if_left_out(ablation) -> None:
    layer = make(ablation=ablation, proj_size=2)
    x = torch.randn(4, 3, 3, dtype=torch.float64)
    zeros = tuple(torch.zeros_like(s) for s in make_state(layer, 3))
    assert_same(layer(x), layer(x, zeros))


@every_ablation
def test_there_are_no_biases_without_bias(ablation) -> None:
    layer = make(ablation=ablation, bias=False)
    assert not [name for name, _ in layer.named_parameters() if "bias" in name]
    x = torch.randn(4, 1, 3, dtype=torch.float64)
    h_0, c_0 = make_state(layer, 1)
    y, _ = layer(x, (h_0, c_0))
    assert_same(y[:, 0], oracle_layers(layer, x[:, 0], h_0[:, 0], c_0[:, 0])[0])


def test_no_gates_hands_its_memory_cell_back() -> None:
    layer = make(ablation="no-gates")
    h_0, c_0 = make_state(layer, 2)
    _, (_, c_n) = layer(torch.randn(4, 2, 3, dtype=torch.float64), (h_0, c_0))
    assert torch.equal(c_n, c_0)


# torch's modules

TORCH_KINDS = {
    "lstm": dict(),
    "two-layers": dict(num_layers=2),
    "both-directions": dict(bidirectional=True),
    "no-bias": dict(bias=False),
    "batch-first": dict(batch_first=True),
    "all": dict(num_layers=2, bidirectional=True, batch_first=True),
}


@pytest.mark.parametrize("kind", TORCH_KINDS.values(), ids=TORCH_KINDS)
@pytest.mark.parametrize("proj_size", [0, 2], ids=["plain", "projected"])
def test_lstm_equals_torch_lstm(kind, proj_size) -> None:
    theirs = nn.LSTM(3, 4, proj_size=proj_size, dtype=torch.float64, **kind)
    ours = make(proj_size=proj_size, **kind)
    ours.load_state_dict(theirs.state_dict())
    h_0, c_0 = make_state(ours, 5)
    compare_with_torch(ours, theirs, (h_0, c_0), (h_0, c_0), lambda state: state)


@pytest.mark.parametrize("kind", TORCH_KINDS.values(), ids=TORCH_KINDS)
def test_no_gates_equals_torch_rnn(kind) -> None:
    theirs = nn.RNN(3, 4, dtype=torch.float64, **kind)
    ours = make(ablation="no-gates", **kind)
    ours.load_state_dict(theirs.state_dict())
    h_0, c_0 = make_state(ours, 5)
    compare_with_torch(ours, theirs, (h_0, c_0), h_0, lambda state: state[0])


def compare_with_torch(ours, theirs, our_state, their_state, as_theirs) -> None:
    """Outputs, final states and all gradients, with random cotangents on all of them."""
    x = torch.randn(5, 5, 3, dtype=torch.float64, requires_grad=True)
    leaves = [our_state] if isinstance(our_state, Tensor) else list(our_state)
    for leaf in leaves:
        leaf.requires_grad_()
    results = []
    for module, state, pick in (
        (ours, our_state, as_theirs),
        (theirs, their_state, lambda s: s),
    ):
        y, final = module(x, state)
        final = pick(final)
        outputs = [y, *(final if isinstance(final, tuple) else [final])]
        torch.manual_seed(1)
        loss = sum((out * torch.randn_like(out)).sum() for out in outputs)
        inputs = [x, *leaves, *module.parameters()]
        grads = torch.autograd.grad(loss, inputs, allow_unused=True)
        results.append((outputs, [g for g in grads if g is not None]))
    assert_same(results[0], results[1])


@pytest.mark.parametrize("ablation", ["lstm", "no-gates"])
def test_parameters_have_the_names_order_and_shapes_of_torch(ablation) -> None:
    theirs = (nn.LSTM if ablation == "lstm" else nn.RNN)(3, 4, 2, bidirectional=True)
    ours = WsumLSTM(3, 4, 2, bidirectional=True, ablation=ablation)
    shapes = [[(n, p.shape) for n, p in m.named_parameters()] for m in (ours, theirs)]
    assert shapes[0] == shapes[1]
    theirs.load_state_dict(ours.state_dict())
    weights = [[[p.shape for p in w] for w in m.all_weights] for m in (ours, theirs)]
    assert weights[0] == weights[1]
    ours.flatten_parameters()


def test_parameters_start_in_the_range_of_torchs() -> None:
    for parameter in WsumLSTM(30, 64).parameters():
        assert 0.9 / 8 < parameter.abs().max() <= 1 / 8


# Parameters: H = 4, I = 3. Products H*I a row of x, H*H a row of h, H a bias.
PARAMETERS = {
    "lstm": 4 * 12 + 4 * 16 + 8 * 4,
    "no-srnn": 4 * 12 + 3 * 16 + 6 * 4,
    "no-srnn-out": 3 * 12 + 2 * 16 + 4 * 4,
    "no-srnn-hidden": 4 * 12 + 3 * 4,
    "no-gates": 12 + 16 + 2 * 4,
    "no-srnn-out-hidden": 3 * 12 + 2 * 4,
    "no-out": 3 * 12 + 3 * 16 + 6 * 4,
    "no-hidden": 4 * 12 + 16 + 5 * 4,
}


@every_ablation
def test_the_number_of_parameters_shows_the_ablation(ablation) -> None:
    assert sum(p.numel() for p in make(ablation=ablation).parameters()) == PARAMETERS[ablation]


@every_cell
def test_every_parameter_is_used(ablation, coupled) -> None:
    layer = make(ablation=ablation, coupled_gates=coupled, num_layers=2, proj_size=2)
    y, _ = layer(torch.randn(3, 2, 3, dtype=torch.float64))
    y.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


# Gradients


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("proj_size", [0, 2], ids=["plain", "projected"])
@every_cell
def test_gradients_are_right_to_the_second_order(ablation, coupled, proj_size, masked) -> None:
    layer = make(
        I=2,
        H=3,
        ablation=ablation,
        coupled_gates=coupled,
        proj_size=proj_size,
        bidirectional=True,
    )
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
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
    assert torch.autograd.gradcheck(loss, inputs)
    if not masked and not proj_size:
        assert torch.autograd.gradgradcheck(loss, inputs)


# Padding


def padded_batch(lengths: list[int], side: str) -> tuple[Tensor, Tensor, list[Tensor]]:
    """x (T x B x 3) with NaN at padding, its mask, and the sequences by themselves."""
    n = max(lengths)
    alone = [torch.randn(k, 3, dtype=torch.float64) for k in lengths]
    x = torch.full((n, len(lengths), 3), float("nan"), dtype=torch.float64)
    mask = torch.ones(n, len(lengths), dtype=torch.bool)
    for b, sequence in enumerate(alone):
        steps = slice(n - len(sequence), n) if side == "left" else slice(len(sequence))
        x[steps, b], mask[steps, b] = sequence, False
    return x, mask, alone


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("proj_size", [0, 2], ids=["plain", "projected"])
@every_cell
def test_padding_never_changes_a_result(ablation, coupled, proj_size, side) -> None:
    layer = make(
        ablation=ablation,
        coupled_gates=coupled,
        proj_size=proj_size,
        num_layers=2,
        bidirectional=True,
    )
    x, mask, alone = padded_batch([4, 1, 6, 3], side)
    h_0, c_0 = make_state(layer, 4)
    y, (h_n, c_n) = layer(x, (h_0, c_0), padding_mask=mask)
    assert torch.equal(y[mask], torch.zeros_like(y[mask]))
    for b, sequence in enumerate(alone):
        state = h_0[:, b : b + 1].contiguous(), c_0[:, b : b + 1].contiguous()
        y_b, (h_b, c_b) = layer(sequence.unsqueeze(1), state)
        assert_same((y[~mask[:, b], b], h_n[:, b], c_n[:, b]), (y_b[:, 0], h_b[:, 0], c_b[:, 0]))


@every_ablation
def test_what_stands_at_padding_reaches_no_gradient(ablation) -> None:
    layer = make(ablation=ablation, bidirectional=True)
    x, mask, _ = padded_batch([4, 2], "left")
    x.requires_grad_()
    layer(x, padding_mask=mask)[0].sum().backward()
    assert torch.isfinite(x.grad).all() and (x.grad[mask] == 0).all()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters() if p.grad is not None)


@every_ablation
def test_a_sequence_that_is_all_padding_keeps_its_state(ablation) -> None:
    layer = make(ablation=ablation, bidirectional=True)
    h_0, c_0 = make_state(layer, 2)
    mask = torch.tensor([[True, False]] * 3)
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    y, (h_n, c_n) = layer(x, (h_0, c_0), padding_mask=mask)
    assert torch.equal(h_n[:, 0], h_0[:, 0]) and torch.equal(c_n[:, 0], c_0[:, 0])
    assert torch.equal(y[:, 0], torch.zeros_like(y[:, 0]))


@pytest.mark.parametrize("enforce_sorted", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["time-first", "batch-first"])
def test_packed_sequences_give_what_torch_gives(batch_first, enforce_sorted) -> None:
    kind = dict(num_layers=2, bidirectional=True, batch_first=batch_first, proj_size=2)
    theirs = nn.LSTM(3, 4, dtype=torch.float64, **kind)
    ours = make(**kind)
    ours.load_state_dict(theirs.state_dict())
    lengths = torch.tensor([6, 4, 4, 1] if enforce_sorted else [4, 1, 6, 4])
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    packed = pack_padded_sequence(x, lengths, enforce_sorted=enforce_sorted)
    state = make_state(ours, 4)
    y, final = ours(packed, state)
    y_torch, final_torch = theirs(packed, state)
    assert_same(final, final_torch)
    assert_same(y.data, y_torch.data)
    assert_same(pad_packed_sequence(y), pad_packed_sequence(y_torch))


# Forms of input


@pytest.mark.parametrize("steps", [1, 3])
@every_ablation
def test_final_states_may_be_changed_in_place(ablation, steps) -> None:
    """As those of torch: programs set some of them to zero between batches."""
    layer = WsumLSTM(3, 4, ablation=ablation)
    h_0, c_0 = torch.randn(1, 2, 4), torch.randn(1, 2, 4)
    with torch.no_grad():
        y, (h_n, c_n) = layer(torch.randn(steps, 2, 3), (h_0, c_0))
    copies = [t.clone() for t in (y, h_0, c_0)]
    h_n.zero_(), c_n.zero_()
    assert all(map(torch.equal, (y, h_0, c_0), copies))


@every_ablation
def test_one_sequence_needs_no_batch_dimension(ablation) -> None:
    layer = make(ablation=ablation, num_layers=2, bidirectional=True, batch_first=True)
    x = torch.randn(5, 3, dtype=torch.float64)
    h_0, c_0 = make_state(layer, 1)
    y, (h_n, c_n) = layer(x, (h_0[:, 0], c_0[:, 0]))
    y_b, (h_b, c_b) = layer(x.unsqueeze(0), (h_0, c_0))
    assert_same((y, h_n, c_n), (y_b[0], h_b[:, 0], c_b[:, 0]))


@every_ablation
def test_one_sequence_may_have_padding(ablation) -> None:
    layer = make(ablation=ablation)
    x = torch.randn(5, 3, dtype=torch.float64)
    mask = torch.tensor([True, False, False, False, True])
    y, state = layer(x, padding_mask=mask)
    y_alone, state_alone = layer(x[1:4])
    assert_same((y[1:4], *state), (y_alone, *state_alone))


def test_the_mask_is_batch_first_where_the_input_is() -> None:
    layer = make(num_layers=2, bidirectional=True)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    mask = torch.arange(5).unsqueeze(1) >= torch.tensor([3, 5])
    y, state = layer(x, None, mask)
    layer.batch_first = True
    y_t, state_t = layer(x.transpose(0, 1), None, mask.t())
    assert_same((y_t.transpose(0, 1), *state_t), (y, *state))


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_16_bits_a_long_sum_loses_nothing(dtype, backend) -> None:
    layer = WsumLSTM(1, 1, ablation="no-srnn-out-hidden", dtype=dtype, backend=backend)
    with torch.no_grad():  # i = 1/2, f = 1, content 2: every step adds 1
        layer.weight_ih_l0.copy_(torch.tensor([[0.0], [0.0], [2.0]]))
        layer.bias_ih_l0.copy_(torch.tensor([0.0, 100.0]))
        _, (_, c_n) = layer(torch.ones(3000, 1, 1, dtype=dtype))
    assert c_n.item() == torch.tensor(3000.0).to(dtype).item()


@every_cell
def test_a_sequence_in_parts_gives_what_it_gives_in_one(ablation, coupled) -> None:
    layer = make(ablation=ablation, coupled_gates=coupled, num_layers=2, proj_size=2)
    x = torch.randn(7, 2, 3, dtype=torch.float64)
    whole, final = layer(x)
    state, parts = None, []
    for part in x.split([1, 4, 2]):
        y, state = layer(part, state)
        parts.append(y)
    assert_same((torch.cat(parts), *state), (whole, *final))


@every_ablation
def test_an_empty_batch_gives_an_empty_result(ablation) -> None:
    layer = make(ablation=ablation, bidirectional=True)
    y, (h_n, c_n) = layer(torch.empty(5, 0, 3, dtype=torch.float64))
    assert y.shape == (5, 0, 8) and h_n.shape == c_n.shape == (2, 0, 4)
    layer.batch_first = True
    assert layer(torch.empty(0, 5, 3, dtype=torch.float64))[0].shape == (0, 5, 8)


@every_ablation
def test_an_empty_sequence_is_an_error(ablation) -> None:
    with pytest.raises(RuntimeError, match="sequence length larger than 0"):
        make(ablation=ablation)(torch.empty(0, 2, 3, dtype=torch.float64))


def test_dropout_stands_between_layers_and_in_training_only() -> None:
    layer = make(num_layers=2, dropout=1.0)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    second = make(I=4)  # with dropout 1 the second layer reads zeros
    second.load_state_dict(
        {k.replace("l1", "l0"): v for k, v in layer.state_dict().items() if "l1" in k}
    )
    assert_same(layer(x)[0], second(torch.zeros(4, 2, 4, dtype=torch.float64))[0])
    first = layer(x)[1][0][0]
    layer.eval()
    assert_same(layer(x)[1][0][0], first)  # which reads the input as it is
    assert_same(layer(x)[0][:, 0], oracle_layers(layer, x[:, 0], *zero_state(layer))[0])


def zero_state(layer: WsumLSTM) -> tuple[Tensor, Tensor]:
    return tuple(torch.zeros_like(s[:, 0]) for s in make_state(layer, 1))


# Work


class CountProducts(TorchDispatchMode):
    """Counts the matrix products that are computed."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm):
            self.count += 1
        return func(*args, **(kwargs or {}))


@every_ablation
def test_a_cell_has_products_in_its_time_loop_only_if_it_is_recurrent(ablation) -> None:
    layer = make(ablation=ablation, proj_size=2)
    counts = []
    for n in (5, 10):
        x = torch.randn(n, 2, 3, dtype=torch.float64)
        with CountProducts() as products:
            layer(x)[0].sum().backward()
        counts.append(products.count)
    assert (counts[1] > counts[0]) == ABLATIONS[ablation].is_recurrent


# A good citizen of torch


@every_cell
def test_a_layer_survives_pickle_copy_and_state_dict(ablation, coupled) -> None:
    layer = make(ablation=ablation, coupled_gates=coupled, num_layers=2)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    expected = layer(x)
    assert_same(pickle.loads(pickle.dumps(layer))(x), expected)
    assert_same(copy.deepcopy(layer)(x), expected)
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    fresh = make(ablation=ablation, coupled_gates=coupled, num_layers=2)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    assert_same(fresh(x), expected)


def test_repr_shows_what_is_not_the_default() -> None:
    layer = WsumLSTM(3, 4, 2, bidirectional=True, ablation="no-srnn", coupled_gates=True)
    assert repr(layer) == (
        "WsumLSTM(3, 4, num_layers=2, bidirectional=True, ablation='no-srnn', coupled_gates=True)"
    )


@every_cell
def test_compile_traces_the_whole_layer(ablation, coupled) -> None:
    torch._dynamo.reset()  # its limit of recompilations is for all layers together
    layer = make(ablation=ablation, coupled_gates=coupled, bidirectional=True)
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
@every_ablation
def test_autocast_computes_products_in_16_bits_and_the_memory_cell_in_32(ablation, dtype) -> None:
    layer = WsumLSTM(8, 16, ablation=ablation)
    x = torch.rand(6, 2, 8)
    exact, (_, c_exact) = layer(x)
    with torch.autocast("cpu", dtype):
        y, (h_n, c_n) = layer(x)
    assert (y.dtype, h_n.dtype, c_n.dtype) == (dtype, dtype, torch.float32)
    torch.testing.assert_close(y.float(), exact, rtol=0.02, atol=0.01)
    torch.testing.assert_close(c_n, c_exact, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_long_sum_loses_nothing_in_16_bits(dtype) -> None:
    # i = 1/2, f = 1, c~ = 2: the memory cell counts to 1,000, where 16 bits have too few digits
    layer = WsumLSTM(1, 1, ablation="no-srnn-out-hidden", dtype=dtype)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor([[0.0], [0.0], [2.0]]))
        layer.bias_ih_l0.copy_(torch.tensor([0.0, 100.0]))
    _, (_, c_n) = layer(torch.ones(1000, 1, 1, dtype=dtype))
    assert c_n.item() == torch.tensor(1000.0).to(dtype).item()
    state = torch.zeros(1, 1, 1, dtype=dtype), torch.zeros(1, 1, 1)
    for _ in range(1000):  # a state in 32 bits stays so, from call to call
        _, state = layer(torch.ones(1, 1, 1, dtype=dtype), state)
    assert state[1].item() == 1000.0


# Bad input

BAD_ARGUMENTS = {
    "ablation": (dict(ablation="lstm2"), "unknown ablation 'lstm2'"),
    "projection": (dict(proj_size=4), "proj_size must be .* smaller than hidden_size 4, got 4"),
    "negative": (dict(proj_size=-1), "proj_size must be"),
    "coupled": (dict(ablation="no-gates", coupled_gates=True), "coupled_gates=True needs gates"),
    "backend": (
        dict(backend="fpga"),
        "unknown backend 'fpga': choose one of auto, cpp, reference, triton",
    ),
    "dropout": (dict(dropout=1.5, num_layers=2), "dropout must be a probability"),
    "layers": (dict(num_layers=0), "num_layers must be at least 1"),
    "hidden": (dict(H=0), "hidden_size must be at least 1"),
}


@pytest.mark.parametrize(("kwargs", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_a_bad_argument_is_an_error_that_names_it(kwargs, message) -> None:
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


@pytest.mark.parametrize(
    "kwargs", [dict(bias=0.5), dict(batch_first=1), dict(proj_size=2.0), dict(num_layers="2")]
)
def test_an_argument_of_a_wrong_type_is_an_error_that_names_it(kwargs) -> None:
    with pytest.raises(TypeError, match=next(iter(kwargs))):
        make(**kwargs)


def test_dropout_without_a_second_layer_warns() -> None:
    with pytest.warns(UserWarning, match="between layers"):
        make(dropout=0.5)


X = torch.zeros(5, 2, 3, dtype=torch.float64)
STATE = torch.zeros(1, 2, 4, dtype=torch.float64)
BAD_INPUT = {
    "dimensions": ((X[0, 0],), "2-D or 3-D, got 1-D"),
    "features": ((X[..., :2],), "equal to input_size 3, got 2"),
    "dtype": ((X.float(),), "dtype of the parameters"),
    "mask-shape": ((X, None, torch.zeros(2, 5, dtype=torch.bool)), r"\(5, 2\) \(T x B\)"),
    "mask-dtype": ((X, None, torch.zeros(5, 2)), "padding_mask must be boolean"),
    "state-shape": ((X, (STATE, STATE[:, :1])), r"c_0 of size \(1, 2, 4\), got \(1, 1, 4\)"),
    "state-pair": ((X, STATE), "pair"),
    "state-unbatched": ((X[:, 0], (STATE, STATE)), "must be 2-D"),
}


@pytest.mark.parametrize(("args", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_an_error_that_says_what_was_expected(args, message) -> None:
    with pytest.raises((ValueError, RuntimeError, TypeError), match=message):
        make()(*args)


def test_a_mask_for_packed_input_is_an_error() -> None:
    packed = pack_padded_sequence(X, torch.tensor([5, 5]))
    with pytest.raises(ValueError, match="PackedSequence has none"):
        make()(packed, None, torch.zeros(5, 2, dtype=torch.bool))


def test_a_backend_asked_for_by_name_never_falls_back(monkeypatch) -> None:
    broken = copy.copy(BACKENDS["reference"])
    object.__setattr__(broken, "why_not", lambda *layer: "it is broken")
    monkeypatch.setitem(BACKENDS, "reference", broken)
    with pytest.raises(RuntimeError, match="'reference' cannot run this layer: it is broken"):
        make(backend="reference")(X)


# Step by step


@every_cell
def test_products_of_parts_of_the_input_add_up_to_the_layer(ablation, coupled) -> None:
    layer = make(I=5, ablation=ablation, coupled_gates=coupled, proj_size=2)
    x, hx = torch.randn(4, 3, 5, dtype=torch.float64), make_state(layer, 3)
    (w_a, w_b), bias = layer.input_maps(2, 3)
    z = nn.functional.linear(x[..., :2], w_a, bias) + nn.functional.linear(x[..., 2:], w_b)
    y, state = layer.forward_products(z, hx)
    expected, (h_n, c_n) = layer(x, hx)
    assert_same((y, *state), (expected, h_n, c_n))


@pytest.mark.parametrize("options", [dict(num_layers=2), dict(bidirectional=True)], ids=str)
def test_several_layers_or_directions_have_no_products_of_one_input(options) -> None:
    with pytest.raises(RuntimeError, match="one layer in one direction"):
        make(**options).input_maps(3)


@pytest.mark.parametrize(
    ("z", "hx", "mask", "message"),
    [
        ((4, 3, 19), (3, 3), None, r"z of size \(T, B, 20\), got \(4, 3, 19\)"),
        ((4, 3, 20), (5, 3), None, r"h_0 of size \(1, 3, 5\), got \(1, 5, 5\)"),
        ((4, 3, 20), (3, 5), None, r"c_0 of size \(1, 3, 5\), got \(1, 5, 5\)"),
        ((4, 3, 20), (3, 3), (3, 4), r"padding_mask of size \(4, 3\) \(T x B\), got \(3, 4\)"),
    ],
    ids=["z", "h_0", "c_0", "mask"],
)
def test_products_states_and_mask_must_fit(z, hx, mask, message) -> None:
    layer = WsumLSTM(3, 5)
    state = tuple(torch.zeros(1, batch, 5) for batch in hx)
    with pytest.raises(RuntimeError, match=message):
        layer.forward_products(
            torch.zeros(z), state, None if mask is None else torch.zeros(mask).bool()
        )


# torch.func and forward-mode derivatives


@pytest.fixture(params=[False, True], ids=["mkl", "onednn"])
def onednn(request, monkeypatch):
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("torch has no oneDNN")
    monkeypatch.setattr(products, "_choices", dict(product=request.param, outer=request.param))


@every_ablation
def test_transformations_of_torch_func_are_right(ablation, onednn) -> None:
    layer = WsumLSTM(3, 5, ablation=ablation)
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


def test_forward_mode_derivatives_are_not_lost(onednn) -> None:
    layer = WsumLSTM(3, 5, ablation="no-srnn-hidden").requires_grad_(False)
    x, direction = torch.randn(4, 2, 3), torch.randn(4, 2, 3)
    (_, expected) = torch.func.jvp(lambda x: layer(x)[0], (x,), (direction,))
    with forward_ad.dual_level():
        y, _ = layer(forward_ad.make_dual(x, direction))
        torch.testing.assert_close(forward_ad.unpack_dual(y).tangent, expected)
