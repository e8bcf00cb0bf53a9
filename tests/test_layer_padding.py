"""`WsumLSTM` with sequences of different lengths: a mask, or packed."""

import pytest
import torch
from layer_oracle import assert_same, every_cell_and_projection, make, make_state, padded_batch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


@pytest.mark.parametrize(
    ("side", "dtype"),
    [("left", torch.float64), ("right", torch.float64), ("left", torch.float32)],
    ids=["left", "right", "kernels"],
)
@every_cell_and_projection
def test_padding_never_changes_a_result(cell, coupled, proj_size, side, dtype) -> None:
    options = dict(coupled_gates=coupled, proj_size=proj_size, num_layers=2, bidirectional=True)
    layer = make(cell=cell, **options).to(dtype)
    x, mask, alone = padded_batch([4, 1, 6, 3], side)
    x, alone = x.to(dtype), [sequence.to(dtype) for sequence in alone]
    h_0, c_0 = make_state(layer, 4)
    y, (h_n, c_n) = layer(x, (h_0, c_0), padding_mask=mask)
    assert torch.equal(y[mask], torch.zeros_like(y[mask]))
    for b, sequence in enumerate(alone):
        state = h_0[:, b : b + 1].contiguous(), c_0[:, b : b + 1].contiguous()
        y_b, (h_b, c_b) = layer(sequence.unsqueeze(1), state)
        assert_same((y[~mask[:, b], b], h_n[:, b], c_n[:, b]), (y_b[:, 0], h_b[:, 0], c_b[:, 0]))


@pytest.mark.parametrize(
    ("dtype", "lengths"),
    [(torch.float32, [4, 2]), (torch.float32, [1, 0]), (torch.float64, [4, 2])],
    ids=["kernels", "kernels-one-step", "reference"],
)
@every_cell_and_projection
def test_a_gradient_at_padding_reaches_no_parameter(
    cell, coupled, proj_size, lengths, dtype
) -> None:
    options = dict(coupled_gates=coupled, proj_size=proj_size, bidirectional=True)
    layer = make(cell=cell, **options).to(dtype)
    x, mask, _ = padded_batch(lengths, "right")
    x = x.to(dtype).requires_grad_()
    y, _ = layer(x, padding_mask=mask)
    norms = y.square().sum(-1).sqrt()  # whose gradient at 0, as at padding, is NaN
    norms.masked_fill(mask, 0).sum().backward()
    gradients = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
    for name, gradient in {**gradients, "x": x.grad}.items():
        assert gradient.isfinite().all(), name
    assert not x.grad[mask].any()


@pytest.mark.parametrize("cell", ["lstm", "gru", "no-gates"])
def test_a_sequence_that_is_all_padding_keeps_its_state(cell) -> None:
    layer = make(cell=cell, bidirectional=True)
    h_0, c_0 = make_state(layer, 2)
    mask = torch.tensor([[True, False]] * 3)
    x = torch.randn(3, 2, 3, dtype=torch.float64)
    y, (h_n, c_n) = layer(x, (h_0, c_0), padding_mask=mask)
    assert torch.equal(h_n[:, 0], h_0[:, 0]) and torch.equal(c_n[:, 0], c_0[:, 0])
    assert torch.equal(y[:, 0], torch.zeros_like(y[:, 0]))


@pytest.mark.parametrize("enforce_sorted", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["time-first", "batch-first"])
def test_packed_sequences_equal_torchs(batch_first, enforce_sorted) -> None:
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
