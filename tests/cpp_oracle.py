"""The C++ backend and the same layer on the reference in float64.

T time steps, B sequences, I input features, H hidden units, P features of h.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from fairseq_wsum import WsumLSTM, kernels
from fairseq_wsum.cells import Cell, get_cell

needs_kernels = pytest.mark.skipif(
    kernels.why_missing() is not None, reason=f"{kernels.why_missing()}"
)


@contextmanager
def instruction_set(name: str) -> Iterator[None]:
    """Use the kernels for another instruction set; skip the test if it has none."""
    use, before = kernels._library().wsum_use_instruction_set, kernels.instruction_set()
    if use(name.encode()) != 0:
        pytest.skip(f"this processor or this build has no instruction set {name!r}")
    try:
        yield
    finally:
        use(before.encode())


OWN_RECURRENCES = ("amx", "avx512_bf16")  # in bfloat16; all else is computed by avx512
VECTOR_SETS = ("avx512", "avx2", "baseline")
every_vector_set = pytest.mark.parametrize("name", VECTOR_SETS)
every_instruction_set = pytest.mark.parametrize("name", [*OWN_RECURRENCES, *VECTOR_SETS])
every_dtype = pytest.mark.parametrize("dtype", kernels.DTYPES, ids=["fp32", "bf16"])


def skip_repeats(name: str, cell: str | Cell, dtype: torch.dtype) -> None:
    """Skip a case whose kernels are those of avx512, which is tested by its own name."""
    own = dtype == torch.bfloat16 and get_cell(cell).has_recurrent_matrix
    if name in OWN_RECURRENCES and not own:
        pytest.skip("these kernels are those of avx512")


# From one unit over odd numbers to more than a panel; batches smaller and larger than a tile, and
# larger than what each of two threads gets of its own.
SHAPES = {
    "one-of-each": dict(T=1, B=1, I=1, H=1),
    "one-step": dict(T=1, B=5, I=3, H=7),
    "one-sequence": dict(T=6, B=1, I=5, H=33),
    "odd": dict(T=5, B=13, I=7, H=33),
    "many-sequences": dict(T=3, B=31, I=4, H=20),
    "projection": dict(T=5, B=7, I=6, H=33, P=7),
    "projection-of-many": dict(T=4, B=27, I=6, H=20, P=17),
}

# Largest difference from float64, over the largest number of the tensor or 0.1. Measured over all
# tests here: 8e-7 and 0.014. In bfloat16 (8 bits) the pre-activations and gates are rounded.
TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 0.03}


def assert_near(found: Tensor, exact: Tensor, dtype: torch.dtype, what: str) -> None:
    assert found.isfinite().all(), what
    scale = exact.abs().amax().clamp_min(0.1) if exact.numel() else 1
    error = (found.double() - exact).abs() / scale
    assert error.numel() == 0 or error.amax() < TOLERANCE[dtype], f"{what}: {error.amax():.2g}"


def twins(
    shape: dict[str, int], dtype: torch.dtype = torch.float32, **options: object
) -> tuple[WsumLSTM, WsumLSTM]:
    """A layer on the C++ backend, and one with the same weights on the float64 reference."""
    sizes = shape["I"], shape["H"]
    projects = get_cell(options.get("cell", "lstm")).can_project
    options = {"proj_size": shape.get("P", 0) if projects else 0, **options}
    fast = WsumLSTM(*sizes, dtype=dtype, backend="cpp", **options)
    exact = WsumLSTM(*sizes, dtype=torch.float64, backend="reference", **options)
    exact.load_state_dict(fast.state_dict())
    return fast, exact


def compare(
    fast: WsumLSTM, exact: WsumLSTM, shape: dict[str, int], mask: Tensor | None = None
) -> None:
    """Compare outputs, final states and all gradients, with random cotangents on all of them."""
    dtype = fast.weight_ih_l0.dtype
    slots, features = fast.num_layers * fast.num_directions, fast.output_size
    T, B = shape["T"], shape["B"]
    x = torch.randn(T, B, shape["I"]).to(dtype)
    h, c = torch.randn(slots, B, features).to(dtype), torch.randn(slots, B, shape["H"]).to(dtype)
    cotangents = [
        torch.randn(size).to(dtype)
        for size in ((T, B, fast.num_directions * features), h.shape, c.shape)
    ]
    results = []
    for layer in (fast, exact):
        real = layer.weight_ih_l0.dtype
        inputs = [t.to(real).requires_grad_() for t in (x, h, c)]
        y, (h_n, c_n) = layer(inputs[0], (inputs[1], inputs[2]), mask)
        wanted = [*inputs, *layer.parameters()]
        given = [t.to(real) for t in cotangents]
        gradients = torch.autograd.grad((y, h_n, c_n), wanted, given, allow_unused=True)
        results.append((y, h_n, c_n, *gradients))
    names = ["y", "h_n", "c_n", "dx", "dh_0", "dc_0", *dict(fast.named_parameters())]
    for name, found, right in zip(names, *results, strict=True):
        assert (found is None) == (right is None), name
        if found is not None:
            assert_near(found.detach(), right.detach(), dtype, name)
