"""The Triton kernels of the scan, compared with a loop over its steps in float64."""

import pytest
import torch
from layer_oracle import mask_of, scan_loop
from triton_helpers import (
    CASES,
    DEVICE,
    INTERPRETS,
    TOLERANCE,
    WAYS,
    error_of,
    inside,
    needs_triton,
    on_device,
    outside,
    run_in_interpreter,
)

from fairseq_wsum.backends import triton as backend
from fairseq_wsum.ops.scan import scan_reference

# reverse, and where the padding is
ALL_WAYS = {**WAYS, "holes": (False, "holes"), "reverse-holes": (True, "holes")}


@needs_triton
@outside
def test_the_scan_kernels_pass_their_tests_in_the_interpreter() -> None:
    run_in_interpreter(__file__)


def padding(where, time, batch):  # type: ignore[no-untyped-def]
    """Padding on one side, or in any step; the first of several sequences has nothing else."""
    if where != "holes":
        return mask_of(where, time, batch)
    mask = torch.rand(time, batch) < 0.4
    mask[:, 0] |= batch > 1
    return mask


def draw(time, batch, units, dtype):  # type: ignore[no-untyped-def]
    """f, u, c_0, dcells and dc_n. Some factors are 0, 1 and negative, some larger than 1."""
    f = torch.rand(time, batch, units) * 2.4 - 1.2
    kind = torch.rand(time, batch, units)
    f = f.masked_fill(kind < 0.15, 0).masked_fill(kind > 0.8, 1).to(dtype)
    u, dcells = torch.randn(time, batch, units).to(dtype), torch.randn(time, batch, units)
    return f, u, torch.randn(batch, units), dcells, torch.randn(batch, units)


def compare(time, batch, units, plan, reverse, where, dtype=torch.float32) -> None:  # type: ignore[no-untyped-def]
    """Outputs and gradients of one case against float64, with NaN in f and u at padding."""
    from fairseq_wsum.backends import triton_scan as kernels

    f, u, c_0, dcells, dc_n = draw(time, batch, units, dtype)
    mask = padding(where, time, batch)
    inputs = [tensor.double().requires_grad_() for tensor in (f, u, c_0)]
    right = scan_loop(*inputs, mask, reverse)
    gradients = torch.autograd.grad(right, inputs, (dcells.double(), dc_n.double()))

    if mask is not None:
        f, u = (tensor.masked_fill(mask.unsqueeze(-1), torch.nan) for tensor in (f, u))
    f, u, c_0, dcells, dc_n, mask = on_device(f, u, c_0, dcells, dc_n, mask)
    how = None if plan is None else kernels.Plan(*plan)
    cells, c_n = kernels.scan(f, u, c_0, mask, reverse, how)
    df, du, dc_0 = kernels.scan_backward(dcells, dc_n, f, c_0, mask, cells, reverse, how)
    assert df.dtype is du.dtype is dtype
    pairs = dict(cells=cells, c_n=c_n, df=df, du=du, dc_0=dc_0)
    for (name, found), exact in zip(pairs.items(), (*right, *gradients), strict=True):
        error = error_of(found, exact)
        assert error < TOLERANCE[found.dtype], f"{name}: {error:.2g}"
    if mask is not None:
        assert df[mask].eq(0).all() and du[mask].eq(0).all()


# In the slow interpreter, every case and every way is tested, but only a third of the pairs.
PAIRS = [
    (case, way)
    for i, case in enumerate(CASES)
    for k, way in enumerate(ALL_WAYS)
    if not INTERPRETS or (i + k) % 3 == 0
]


@needs_triton
@inside
@pytest.mark.parametrize(("case", "way"), PAIRS)
def test_the_scan_equals_the_loop(case, way) -> None:
    compare(*CASES[case], *ALL_WAYS[way])


@needs_triton
@inside
@pytest.mark.parametrize("seed", range(5))
def test_the_scan_equals_the_loop_for_any_size(seed) -> None:
    torch.manual_seed(seed)
    time, batch, units = (int(torch.randint(1, most, ())) for most in (20, 4, 7))
    steps, block, chunks = (2 ** int(torch.randint(0, most, ())) for most in (4, 4, 3))
    compare(time, batch, units, (steps, block, chunks), seed % 2 == 1, "holes")


@needs_triton
@inside
def test_a_long_sequence_of_few_units_is_scanned_in_chunks() -> None:
    from fairseq_wsum.backends.triton_common import plan_for

    assert plan_for(260, 1, 3).chunks == 2
    compare(260, 1, 3, None, True, "holes")


@needs_triton
@inside
@pytest.mark.parametrize(
    ("case", "way"), [("odd", "padded-left"), ("chunks-of-uneven-length", "reverse")]
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_only_gradients_are_rounded_to_16_bits(dtype, case, way) -> None:
    compare(*CASES[case], *ALL_WAYS[way], dtype)


@needs_triton
@inside
@pytest.mark.parametrize("factor", [0, 1])
def test_factors_that_all_are_0_or_1_give_exact_cells(factor) -> None:
    from fairseq_wsum.backends import triton_scan as kernels

    f = torch.full((9, 2, 3), float(factor), device=DEVICE)
    u = torch.randint(-5, 5, f.shape, device=DEVICE).float()
    c_0 = torch.ones(2, 3, device=DEVICE)
    cells, c_n = kernels.scan(f, u, c_0, None, False, kernels.Plan(4, 4, 2))
    assert torch.equal(cells, c_0 + u.cumsum(0) if factor else u)
    assert torch.equal(c_n, cells[-1])


@needs_triton
@inside
@pytest.mark.parametrize("case", ["fewer-steps-than-at-a-time", "more-chunks-than-needed"])
def test_an_output_without_a_gradient_counts_as_one_with_zeros(case) -> None:
    from fairseq_wsum.backends import triton_scan as kernels

    *sizes, plan = CASES[case]
    f, u, c_0, dcells, dc_n = on_device(*draw(*sizes, torch.float32))
    (mask,) = on_device(padding("holes", *sizes[:2]))
    how = kernels.Plan(*plan)
    cells, _ = kernels.scan(f, u, c_0, mask, True, how)
    rest = (f, c_0, mask, cells, True, how)
    assert all(gradient.eq(0).all() for gradient in kernels.scan_backward(None, None, *rest))
    for given, zeros in (
        ((dcells, None), (dcells, torch.zeros_like(dc_n))),
        ((None, dc_n), (torch.zeros_like(dcells), dc_n)),
    ):
        found, right = kernels.scan_backward(*given, *rest), kernels.scan_backward(*zeros, *rest)
        assert all(torch.equal(a, b) for a, b in zip(found, right, strict=True))


@needs_triton
@inside
def test_tensors_may_have_any_strides() -> None:
    from fairseq_wsum.backends import triton_scan as kernels

    f, u = torch.randn(6, 2, 10, device=DEVICE).chunk(2, -1)
    c_0, dc_n = torch.randn(5, 2, device=DEVICE).t(), torch.ones(1, 1, device=DEVICE).expand(2, 5)
    dcells = torch.ones(1, 1, 1, device=DEVICE).expand(6, 2, 5)
    mask = (torch.rand(2, 6, device=DEVICE) < 0.4).t()
    found = kernels.scan(f, u, c_0, mask, False)
    gradients = kernels.scan_backward(dcells, dc_n, f, c_0, mask, found[0], False)
    f, u, c_0, dcells, dc_n, mask = (x.contiguous() for x in (f, u, c_0, dcells, dc_n, mask))
    right = kernels.scan(f, u, c_0, mask, False)
    right += kernels.scan_backward(dcells, dc_n, f, c_0, mask, right[0], False)
    assert all(torch.equal(a, b) for a, b in zip((*found, *gradients), right, strict=True))


@needs_triton
@inside
def test_a_batch_of_no_sequences_has_no_cells() -> None:
    from fairseq_wsum.backends import triton_scan as kernels

    f, u, c_0, dcells, dc_n = on_device(*draw(3, 0, 5, torch.float32))
    cells, c_n = kernels.scan(f, u, c_0, None, False)
    gradients = kernels.scan_backward(dcells, dc_n, f, c_0, None, cells, False)
    assert [tuple(x.shape) for x in (cells, c_n, *gradients)] == [
        *((3, 0, 5), (0, 5)),
        *((3, 0, 5), (3, 0, 5), (0, 5)),
    ]


@needs_triton
@inside
def test_the_operator_on_gpus_runs_these_kernels() -> None:
    """The operator is sent to the kernels for GPUs even where the tensors are on the CPU."""
    assert backend.why_missing() is None
    gpu = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    operators = torch.ops.fairseq_wsum
    f, u, c_0, dcells, dc_n = on_device(*draw(4, 2, 3, torch.float32))
    cells, c_n = operators.scan.default.redispatch(gpu, f, u, c_0, None, True)
    gradients = operators.scan_backward.default.redispatch(
        gpu, dcells, dc_n, f, c_0, None, cells, True
    )
    inputs = [tensor.requires_grad_() for tensor in (f, u, c_0)]
    right = scan_reference(*inputs, None, True)
    right += torch.autograd.grad(right, inputs, (dcells, dc_n))
    for found, exact in zip((cells, c_n, *gradients), right, strict=True):
        torch.testing.assert_close(found, exact)
