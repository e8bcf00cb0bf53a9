"""Whole layers on a GPU, on every backend that runs there, against float64 on the CPU.

Skipped without a GPU. FAIRSEQ_WSUM_TEST_DEVICE=cpu runs the same tests on the CPU.
"""

import copy
import functools
import os
import warnings
from collections.abc import Iterator

import pytest
import torch
from layer_oracle import ALL_CELLS, CELL_IDS, error_of, make_state, mask_of, outputs_and_gradients
from torch import Tensor

from fairseq_wsum import CELLS, WsumLSTM
from fairseq_wsum.cells import get_cell
from fairseq_wsum.recurrence import BACKENDS

DEVICE = torch.device(os.environ.get("FAIRSEQ_WSUM_TEST_DEVICE", "cuda"))
if DEVICE.type == "cuda" and not torch.cuda.is_available():
    pytest.skip("torch sees no GPU here", allow_module_level=True)

DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp64": torch.float64,
}
# The largest difference from float64, over the largest number or 1. Weights and input are rounded
# to the type first. On a CPU, with three seeds: at most 9.4e-7, 0.02, 0.0023 and 8e-16.
TOLERANCES = {"fp32": 1e-5, "bf16": 0.05, "fp16": 0.01, "fp64": 1e-12}
CUDNN_RNN = 2e-5  # torch's `nn.RNN` in fp32; on an H100 (torch 2.11) at most 1.3e-5
SIDES = ("whole", "left", "right")
SMALL, LARGE = (7, 5, 33), (20, 12, 650)  # T, B, H

KINDS = {
    name: dict(cell=cell, coupled_gates=coupled)
    for name, (cell, coupled) in zip(CELL_IDS, ALL_CELLS, strict=True)
}
KINDS |= {"qrnn-window-2": dict(cell="qrnn", window=2), "lstm-projected": dict(proj_size=9)}
KINDS |= {"no-srnn-hidden-projected": dict(cell="no-srnn-hidden", proj_size=9)}


def runs(backend: str, kind: str, dtype: str) -> bool:
    """Whether a backend can run this layer on the device in this type."""
    options = {"cell": "lstm", **KINDS[kind]}
    projects = bool(options.pop("proj_size", 0))
    cell = get_cell(options.pop("cell"), **options)
    return BACKENDS[backend].why_not(cell, DEVICE, DTYPES[dtype], projects) is None


def each(*dtypes: str, kinds: tuple[str, ...] = tuple(KINDS)):
    """Every backend with every kind of layer that it runs in these types."""
    return pytest.mark.parametrize(
        ("backend", "kind", "dtype"),
        [
            pytest.param(backend, kind, dtype, id=f"{backend}-{kind}-{dtype}")
            for backend in BACKENDS
            for kind in kinds
            for dtype in dtypes
            if runs(backend, kind, dtype)
        ],
    )


@pytest.fixture(autouse=True)
def _full_precision() -> Iterator[None]:
    """Products in fp32 with all bits; cuDNN would take TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
    torch.set_float32_matmul_precision(before)


@each(*DTYPES)
@pytest.mark.parametrize("side", SIDES)
def test_two_layers_in_both_directions_equal_the_reference(side, backend, kind, dtype) -> None:
    check(backend, kind, dtype, side, *SMALL, num_layers=2, bidirectional=True)


@each("fp32")
def test_a_single_step_equals_the_reference(backend, kind, dtype) -> None:
    """As in decoding."""
    check(backend, kind, dtype, "whole", 1, 5, 33, num_layers=2)


@each("fp32", "bf16", kinds=("lstm", "no-srnn", "no-srnn-hidden", "no-gates", "gru"))
def test_a_layer_of_usual_size_equals_the_reference(backend, kind, dtype) -> None:
    check(backend, kind, dtype, "left", *LARGE)


@pytest.mark.parametrize("cell", CELLS)
def test_autocast_gives_the_gradients_of_the_reference(cell) -> None:
    """As in training with --amp, where the parameters have 32 bits."""
    layer, given, right = case(cell, "fp32", "left", *SMALL, (("num_layers", 2),))
    found = outputs_and_gradients(layer("auto"), *given, autocast=torch.bfloat16)
    compare(found, right, TOLERANCES["bf16"])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("proj_size", [0, 9])
def test_torch_does_not_copy_the_weights_again(bias, proj_size) -> None:
    layer = WsumLSTM(8, 16, bias=bias, proj_size=proj_size, backend="torch").to(DEVICE)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "RNN module weights are not part of single contiguous")
        layer(torch.randn(5, 3, 8, device=DEVICE))


def check(backend, kind, dtype, side, steps, batch, units, **options) -> None:
    """Outputs, final states and all gradients of a layer on the device."""
    fixed = tuple(options.items())
    layer, given, right = case(kind, dtype, side, steps, batch, units, fixed)
    cudnn_rnn = (DEVICE.type, backend, kind, dtype) == ("cuda", "torch", "no-gates", "fp32")
    tolerance = CUDNN_RNN if cudnn_rnn else TOLERANCES[dtype]
    compare(outputs_and_gradients(layer(backend), *given), right, tolerance)


def compare(found: dict[str, Tensor], right: dict[str, Tensor], tolerance: float) -> None:
    errors = {name: error_of(found[name], exact).item() for name, exact in right.items()}
    wrong = {name: f"{error:.2g}" for name, error in errors.items() if not error <= tolerance}
    assert not wrong, f"over {tolerance}: {wrong}"


@functools.lru_cache(maxsize=512)
def case(kind, dtype, side, steps, batch, units, fixed):
    """How to make the layer on the device with a backend; its input; the results in float64."""
    torch.manual_seed(1)
    options = {"cell": "lstm", **KINDS[kind], **dict(fixed)}
    exact = WsumLSTM(9, units, backend="reference", dtype=torch.float64, **options)
    for parameter in exact.parameters():
        parameter.data = parameter.data.to(DTYPES[dtype]).double()
    x = torch.randn(steps, batch, 9, dtype=torch.float64)
    state = make_state(exact, batch)
    x, *state = (part.to(DTYPES[dtype]).double() for part in (x, *state))
    mask = mask_of(None if side == "whole" else side, steps, batch)
    if mask is not None:
        x = x.masked_fill(mask.unsqueeze(-1), torch.nan)

    def layer(backend: str) -> WsumLSTM:
        made = WsumLSTM(9, units, backend=backend, dtype=DTYPES[dtype], **options)
        made.load_state_dict(copy.deepcopy(exact.state_dict()))
        return made.to(DEVICE)

    given = x, state, mask
    return layer, given, outputs_and_gradients(exact, *given)
