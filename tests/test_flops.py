"""torch's counter of floating-point operations counts those of the C++ kernels."""

import pytest
import torch
from cpp_oracle import needs_kernels
from layer_oracle import every_cell
from torch.utils.flop_counter import FlopCounterMode

from fairseq_wsum import CELLS, WsumLSTM

T, B, FEATURES, H, P = 7, 3, 5, 4, 2


def count(layer: WsumLSTM) -> tuple[int, int]:
    """The operations of a forward, and of a forward and backward pass."""
    slots = layer.num_layers * layer.num_directions
    x = torch.randn(T, B, FEATURES, requires_grad=True)
    sizes = layer.output_size, layer.hidden_size
    h_0, c_0 = (torch.zeros(slots, B, size, requires_grad=True) for size in sizes)
    with FlopCounterMode(display=False) as counter:
        y, state = layer(x, (h_0, c_0))
        forward = counter.get_total_flops()
        sum(part.sum() for part in (y, *state)).backward()
    return forward, counter.get_total_flops()


@needs_kernels
@every_cell
@pytest.mark.parametrize("options", [{}, dict(num_layers=2, bidirectional=True), dict(proj_size=P)])
def test_kernels_count_like_the_reference(options, cell, coupled) -> None:
    if "proj_size" in options and not CELLS[cell].can_project:
        return
    options = dict(options, cell=cell, coupled_gates=coupled)
    fast, reference = (WsumLSTM(FEATURES, H, backend=b, **options) for b in ("cpp", "reference"))
    assert count(fast) == count(reference)


@needs_kernels
def test_the_ablations_differ_by_their_products() -> None:
    """By hand: two operations for each element of each matrix, time step and sequence."""
    input_rows = {"lstm": 4, "no-srnn": 4, "no-srnn-hidden": 4, "no-srnn-out": 3}
    hidden_rows = {"lstm": 4, "no-srnn": 3, "no-srnn-hidden": 0, "no-srnn-out": 2}
    for cell, rows in input_rows.items():
        matrices = H * (rows * FEATURES + hidden_rows[cell] * H)
        assert count(WsumLSTM(FEATURES, H, cell=cell, backend="cpp"))[0] == 2 * T * B * matrices
