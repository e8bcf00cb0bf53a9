"""The weighted sum as data: traces, weights, norms, lifetimes, against equations written out."""

import math
from dataclasses import replace

import pytest
import torch
from cpp_oracle import needs_kernels
from layer_oracle import assert_same, padded_batch
from own_cells import Decaying, Scaled
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from fairseq_wsum import CELLS, WsumLSTM
from fairseq_wsum.cells import LSTM
from fairseq_wsum.weights import (
    half_lives,
    initial_shares,
    lifetimes,
    norms,
    rebuild,
    reconstruction_error,
    trace,
    weights,
)

WITH_MEMORY = [name for name, cell in CELLS.items() if cell.has_memory]


def written_out(one):
    """w^t_j by the definition: one product for every pair of steps."""
    i, f = one.input_gates, one.forget_gates
    steps = len(i)
    found = torch.zeros(steps, steps, *i.shape[1:], dtype=i.dtype)
    for t in range(steps):
        for j in range(t, steps) if one.reverse else range(t + 1):
            between = range(t, j) if one.reverse else range(j + 1, t + 1)
            found[t, j] = i[j] * math.prod((f[k] for k in between), start=torch.ones(()))
    if one.padding_mask is not None:
        found[one.padding_mask.unsqueeze(1).expand(steps, steps, -1)] = 0
    return found


def test_two_steps_by_hand() -> None:
    layer = WsumLSTM(1, 1, cell="no-srnn-hidden")
    # rows i, f, c, o: gates of 1/2 at x = 0; at x = 1 the input gate is 3/4, the forget gate 1/5
    layer.load_state_dict(
        {
            "weight_ih_l0": torch.tensor([[math.log(3)], [-math.log(4)], [2.0], [0.0]]),
            "bias_ih_l0": torch.tensor([0.0, 0.0, 0.0]),
        },
        strict=False,
    )
    x = torch.tensor([[[1.0]], [[1.0]]])
    (one,) = trace(layer, x, (torch.zeros(1, 1, 1), torch.full((1, 1, 1), 10.0)))
    assert_same(one.contents.flatten(), torch.tensor([2.0, 2.0]))
    assert_same(one.input_gates.flatten(), torch.tensor([0.75, 0.75]))
    assert_same(one.forget_gates.flatten(), torch.tensor([0.2, 0.2]))
    # c_1 = 0.75 * 2 + 0.2 * 10 = 3.5; c_2 = 0.75 * 2 + 0.2 * 3.5 = 2.2
    assert_same(one.cells.flatten(), torch.tensor([3.5, 2.2]))
    assert_same(weights(one).flatten(), torch.tensor([0.75, 0, 0.15, 0.75]))
    assert_same(initial_shares(one).flatten(), torch.tensor([0.2, 0.04]))
    assert_same(rebuild(one).flatten(), torch.tensor([3.5, 2.2]))


SUMS = [*WITH_MEMORY, Scaled(), Decaying(), LSTM(coupled_gates=True)]


@pytest.mark.parametrize(
    ("cell", "side"), [*((cell, "left") for cell in SUMS), ("lstm", None), ("lstm", "right")]
)
def test_the_weighted_sum_is_the_memory_cell(cell, side) -> None:
    layer = WsumLSTM(3, 4, 2, cell=cell, bidirectional=True, residuals=True, dtype=torch.float64)
    x, mask, _ = padded_batch([5, 2, 7], side or "left")
    mask = None if side is None else mask
    x = torch.randn_like(x) if mask is None else x
    hx = tuple(torch.randn(4, 3, 4, dtype=torch.float64) for _ in range(2))
    y, (h_n, c_n) = layer(x, hx, mask)
    c_n = h_n if layer.cell.hidden_is_memory else c_n
    traces = trace(layer, x, hx, mask)
    assert [(one.layer, one.reverse) for one in traces] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for one, c in zip(traces, c_n, strict=True):
        assert_same(weights(one), written_out(one))
        assert_same(norms(one), written_out(one).norm(dim=-1))
        expected = one.cells if mask is None else one.cells.masked_fill(mask[..., None], 0)
        total = torch.einsum("tjbh,jbh->tbh", weights(one), one.contents)
        assert_same(total + initial_shares(one) * one.c_0, expected)
        assert_same(rebuild(one), expected)
        assert_same(one.c_n, c)
        assert all(z.shape == one.cells.shape for z in one.preactivations.values())
        assert max(reconstruction_error(one)) < 1e-12
        if mask is not None:
            assert not weights(one).permute(0, 2, 1, 3)[mask].any()  # t is padding
            assert not weights(one).permute(1, 2, 0, 3)[mask].any()  # j is padding
    sides = torch.cat([one.output(rebuild(one)) for one in traces[2:]], dim=-1)
    below = torch.cat([one.outputs for one in traces[:2]], dim=-1)
    assert_same(sides + below, y)


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cell", [*WITH_MEMORY, Decaying()])
def test_the_sum_explains_the_outputs_of_the_kernels(cell, dtype) -> None:
    layer = WsumLSTM(8, 16, 2, cell=cell, bidirectional=True, backend="cpp", dtype=dtype)
    x = torch.randn(40, 3, 8, dtype=dtype)
    mask = torch.zeros(40, 3, dtype=torch.bool)
    mask[:4, 1] = mask[30:, 2] = True
    with torch.no_grad():
        for one in trace(layer, x, padding_mask=mask):
            assert max(reconstruction_error(one)) < (1e-5 if dtype == torch.float32 else 0.03)


def test_a_layer_with_a_projection_is_traced_over_a_packed_sequence() -> None:
    layer = WsumLSTM(3, 6, proj_size=2, dtype=torch.float64)
    sequences = [torch.randn(n, 3, dtype=torch.float64) for n in (4, 6)]
    packed = pack_padded_sequence(
        pad_sequence(sequences), torch.tensor([4, 6]), enforce_sorted=False
    )
    (one,) = trace(layer, packed)
    assert one.padding_mask.sum(0).tolist() == [2, 0]
    assert one.outputs.shape == (6, 2, 2) and max(reconstruction_error(one)) < 1e-12
    (alone,) = trace(layer, sequences[0])
    assert_same(norms(one)[:4, :4, 0], norms(alone)[..., 0])


def test_a_cell_without_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="'no-gates' has no memory cell"):
        trace(WsumLSTM(2, 3, cell="no-gates"), torch.randn(4, 1, 2))


@pytest.mark.parametrize("reverse", [False, True])
def test_long_sequences_are_stable(reverse) -> None:
    """150 steps, with gates of zero and of one, against exact arithmetic."""
    layer = WsumLSTM(2, 3, cell="no-srnn-hidden", bidirectional=reverse)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(60)
    *_, one = trace(layer, torch.randn(150, 1, 2) * torch.rand(150, 1, 1))
    assert one.forget_gates.min() < 1e-12 and one.forget_gates.max() == 1
    gates = ("input_gates", "forget_gates")
    exact = replace(one, **{name: getattr(one, name).detach().double() for name in gates})
    expected = written_out(exact).norm(dim=-1)
    assert torch.isfinite(norms(one)).all()
    assert_same(norms(one), expected.float(), rtol=1e-4, atol=1e-6)


def test_lifetimes_count_the_steps_above_a_share() -> None:
    layer = WsumLSTM(3, 4, 1, cell="no-srnn-hidden", bidirectional=True)
    x, mask = torch.randn(150, 3, 3), torch.zeros(150, 3, dtype=torch.bool)
    mask[:20, 1] = mask[70, 0] = mask[:, 2] = True
    for one in trace(layer, x, padding_mask=mask):
        found, all_norms = lifetimes(one, 0.3, later=(0, 1, 70, 200)), norms(one)
        for b in range(3):
            for j in range(150):
                order = range(j - 1, -1, -1) if one.reverse else range(j + 1, 150)
                later = [all_norms[t, j, b] for t in order if not mask[t, b]]
                above = [bool(norm >= 0.3 * all_norms[j, j, b]) for norm in later]
                alive = above.index(False) if False in above else len(above)
                wanted = (0, False) if mask[j, b] else (alive, False in above)
                assert (int(found.steps[j, b]), bool(found.complete[j, b])) == wanted
                for k, kept in zip((0, 1, 70, 200), found.kept, strict=True):
                    known = k <= len(later) and not mask[j, b]
                    norm = [all_norms[j, j, b], *later][k] if known else torch.nan
                    expected = norm / all_norms[j, j, b]
                    assert float(kept[j, b]) == pytest.approx(float(expected), nan_ok=True)


def test_what_never_enters_the_memory_does_not_live() -> None:
    layer = WsumLSTM(1, 1, cell="no-srnn-hidden")
    with torch.no_grad():
        layer.bias_ih_l0[0] = -200  # the input gate
    (one,) = trace(layer, torch.zeros(4, 1, 1))
    found = lifetimes(one)
    assert found.steps.flatten().tolist() == [0, 0, 0, 0]
    assert found.complete.flatten().tolist() == [True, True, True, False]  # unknown for the last


def test_autocast_changes_no_weight() -> None:
    layer = WsumLSTM(3, 64, cell="no-srnn", proj_size=8)
    (one,) = trace(layer, torch.randn(150, 1, 3))
    expected = norms(one), reconstruction_error(one)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same(norms(one), expected[0])
        assert reconstruction_error(one) == expected[1]


def test_half_lives_equal_those_worked_out_by_hand() -> None:
    f = torch.tensor([[0.5, 0.25, 1.0], [0.5, 1.0, 1.0]])
    assert half_lives(f).tolist() == pytest.approx([1, 1, math.inf])
    assert half_lives(-f).tolist() == pytest.approx([1, 1, math.inf])


def test_a_trace_has_gradients() -> None:
    layer = WsumLSTM(2, 3, cell="no-srnn-hidden")
    (one,) = trace(layer, torch.randn(4, 1, 2))
    one.forget_gates.sum().backward()
    assert layer.weight_ih_l0.grad is not None
    assert not norms(one).requires_grad and not rebuild(one).requires_grad
