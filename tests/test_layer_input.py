"""What `WsumLSTM` takes: forms of input, options, its products one by one, and bad input."""

import pytest
import torch
from layer_oracle import assert_same, every_name, make, make_state
from torch.nn.utils.rnn import pack_padded_sequence

from fairseq_wsum import CELLS, WsumLSTM

# Forms of input


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("cell", ["lstm", "gru", "no-gates", "no-srnn-hidden"])
def test_final_states_can_be_changed_in_place(cell, steps) -> None:
    """Programs set some of torch's final states to zero between batches."""
    layer = WsumLSTM(3, 4, cell=cell).eval()  # one step: that of decoding
    h_0, c_0 = torch.randn(1, 2, 4), torch.randn(1, 2, 4)
    with torch.no_grad():
        y, (h_n, c_n) = layer(torch.randn(steps, 2, 3), (h_0, c_0))
    copies = [t.clone() for t in (y, h_0, c_0)]
    h_n.zero_(), c_n.zero_()
    assert all(map(torch.equal, (y, h_0, c_0), copies))


def test_one_sequence_needs_no_batch_dimension() -> None:
    layer = make(num_layers=2, bidirectional=True, batch_first=True)
    x = torch.randn(5, 3, dtype=torch.float64)
    h_0, c_0 = make_state(layer, 1)
    y, (h_n, c_n) = layer(x, (h_0[:, 0], c_0[:, 0]))
    y_b, (h_b, c_b) = layer(x.unsqueeze(0), (h_0, c_0))
    assert_same((y, h_n, c_n), (y_b[0], h_b[:, 0], c_b[:, 0]))


def test_one_sequence_can_have_padding() -> None:
    layer = make()
    x = torch.randn(5, 3, dtype=torch.float64)
    mask = torch.tensor([True, False, False, False, True])
    y, state = layer(x, padding_mask=mask)
    y_alone, state_alone = layer(x[1:4])
    assert_same((y[1:4], *state), (y_alone, *state_alone))


def test_the_mask_is_batch_first_if_the_input_is() -> None:
    layer = make(num_layers=2, bidirectional=True)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    mask = torch.arange(5).unsqueeze(1) >= torch.tensor([3, 5])
    y, state = layer(x, None, mask)
    layer.batch_first = True
    y_t, state_t = layer(x.transpose(0, 1), None, mask.t())
    assert_same((y_t.transpose(0, 1), *state_t), (y, *state))


@every_name
def test_a_sequence_in_parts_equals_the_whole(cell) -> None:
    layer = make(cell=cell, num_layers=2, proj_size=2 * CELLS[cell].can_project).float()
    x = torch.randn(7, 2, 3)
    whole, final = layer(x)
    state, parts = None, []
    for part in x.split([1, 4, 2]):
        y, state = layer(part, state)
        parts.append(y)
    assert_same((torch.cat(parts), *state), (whole, *final))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["reference", "kernels"])
@pytest.mark.parametrize("cell", ["lstm", "no-gates", "no-srnn-hidden", "gru", "sru"])
def test_an_empty_batch_gives_an_empty_result(cell, dtype) -> None:
    layer = make(cell=cell, bidirectional=True).to(dtype)
    y, (h_n, c_n) = layer(torch.empty(5, 0, 3, dtype=dtype))
    y.sum().backward()
    assert y.shape == (5, 0, 8) and h_n.shape == c_n.shape == (2, 0, 4)
    assert all(p.grad.eq(0).all() for p in layer.parameters())
    layer.batch_first = True
    assert layer(torch.empty(0, 5, 3, dtype=dtype))[0].shape == (0, 5, 8)


def test_a_complex_layer_takes_its_state_back() -> None:
    layer = WsumLSTM(3, 4, dtype=torch.complex64)
    x = torch.randn(4, 2, 3, dtype=torch.complex64)
    first, state = layer(x[:2])
    assert torch.allclose(torch.cat((first, layer(x[2:], state)[0])), layer(x)[0])


# Bad input


@pytest.mark.parametrize("cell", ["lstm", "no-srnn-hidden"])
def test_a_state_on_another_device_is_refused(cell) -> None:
    state = torch.zeros(1, 2, 4, device="meta")
    with pytest.raises((ValueError, RuntimeError), match="meta"):
        WsumLSTM(3, 4, cell=cell)(torch.randn(5, 2, 3), (state, state))


BAD_ARGUMENTS = {
    "coupled": (
        dict(cell="no-gates", coupled_gates=True),
        "cell 'no-gates' has no forget gate of its own",
    ),
    "cell": (dict(cell="no-lstm"), "unknown cell 'no-lstm': choose one of .*no-srnn-hidden"),
    "projection": (dict(proj_size=4), "proj_size must be .* smaller than hidden_size 4, got 4"),
    "negative": (dict(proj_size=-1), "proj_size must be"),
    "no-projection": (
        dict(cell="sru", proj_size=2),
        "proj_size 2: cell 'sru' cannot have a projection",
    ),
    "window": (dict(cell="qrnn", window=3), "'qrnn' has a window of 1 or 2, not of 3"),
    "no-window": (dict(cell="lstm", window=2), "'lstm' has a window of 1, not of 2"),
    "backend": (
        dict(backend="fpga"),
        "unknown backend 'fpga': choose one of auto, cpp, torch, triton, reference",
    ),
    "dropout": (dict(dropout=1.5, num_layers=2), "dropout must be a probability"),
    "dropout-bool": (dict(dropout=True, num_layers=2), "dropout must be a probability"),
    "layers": (dict(num_layers=0), "num_layers must be at least 1"),
    "hidden": (dict(H=0), "hidden_size must be at least 1"),
}


@pytest.mark.parametrize(("kwargs", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_a_bad_argument_is_named(kwargs, message) -> None:
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


def test_dropout_without_a_second_layer_warns() -> None:
    with pytest.warns(UserWarning, match="between layers"):
        make(dropout=0.5)


X = torch.zeros(5, 2, 3, dtype=torch.float64)
STATE = torch.zeros(1, 2, 4, dtype=torch.float64)
BAD_INPUT = {
    "dimensions": ((X[0, 0],), r"2 or 3 dimensions, .* got size \(3,\)"),
    "features": ((X[..., :2],), r"input_size 3, got size \(5, 2, 2\)"),
    "dtype": ((X.float(),), "dtype of the parameters"),
    "mask-shape": ((X, None, torch.zeros(2, 5, dtype=torch.bool)), r"\(5, 2\) \(T x B\)"),
    "no-steps": ((X[:0],), "sequence length larger than 0"),
    "packed-mask": (
        (pack_padded_sequence(X, torch.tensor([5, 5])), None, torch.zeros(5, 2).bool()),
        "PackedSequence has none",
    ),
    "mask-dtype": ((X, None, torch.zeros(5, 2)), "padding_mask must be boolean"),
    "state-shape": ((X, (STATE, STATE[:, :1])), r"c_0 of size \(1, 2, 4\) .* got \(1, 1, 4\)"),
    "state-pair": ((X, STATE), r"hx must be a tuple \(h_0, c_0\)"),
    "state-whole": ((X, (STATE.long(), STATE)), "h_0 .* in a floating dtype, got .*int64"),
    "state-of-a-window": ((X, (STATE, STATE, STATE)), r"hx must be a tuple \(h_0, c_0\)"),
    "state-unbatched": ((X[:, 0], (STATE, STATE)), r"h_0 of size \(1, 4\) .* got \(1, 2, 4\)"),
}


@pytest.mark.parametrize(("args", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_rejected_with_the_expected_form(args, message) -> None:
    with pytest.raises((ValueError, RuntimeError, TypeError), match=message):
        make()(*args)


@pytest.mark.parametrize("cell", ["lstm", "gru", "no-gates"])
@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_only_the_second_bias_can_be_taken_away(cell, backend) -> None:
    layer = make(cell=cell, backend=backend)
    with torch.no_grad():
        layer.bias_hh_l0.zero_()
    y, _ = layer(X)
    layer.bias_hh_l0 = None
    torch.testing.assert_close(layer(X)[0], y)
    layer.bias_ih_l0, layer.bias_hh_l0 = None, torch.nn.Parameter(layer.bias_ih_l0.detach())
    with pytest.raises(ValueError, match="set bias_hh to None instead"):
        layer(X)


@pytest.mark.parametrize("cell", ["minlstm", "sru"])  # which give their biases values
def test_a_layer_without_its_biases_can_be_reset(cell) -> None:
    layer = make(cell=cell)
    layer.bias_ih_l0 = layer.bias_hh_l0 = None
    layer.reset_parameters()
    assert layer(X)[0].isfinite().all()


def test_a_reset_draws_the_parameters_of_parametrizations_and_not_those_of_a_dropout() -> None:
    drop = torch.nn.PReLU()  # a module with a parameter in place of a dropout
    layer = torch.nn.utils.parametrizations.weight_norm(make(dropout=drop), "weight_ih_l0")
    before = {name: parameter.clone() for name, parameter in layer.named_parameters()}
    layer.reset_parameters()
    for name, parameter in layer.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("dropout.")
