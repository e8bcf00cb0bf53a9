"""The Triton kernels of `memory_cell`, for gated sums, their scan and single steps of the LSTM.

They run in Triton's interpreter or, where there is one, on a GPU.
"""

import pytest
import torch
from layer_oracle import error_of, mask_of, scan_loop
from triton_helpers import (
    CASES,
    DEVICE,
    INTERPRETS,
    WAYS,
    inside,
    needs_triton,
    on_device,
    operator_of,
    outside,
    run_in_interpreter,
    tolerance,
)

from fairseq_wsum import CELLS
from fairseq_wsum.cells import get_cell
from fairseq_wsum.recurrence import operators, problem
from fairseq_wsum.recurrence import triton as backend
from fairseq_wsum.recurrence.scan import scan_reference


@needs_triton
@outside
def test_the_kernels_of_the_memory_cell_pass_their_tests_in_the_interpreter() -> None:
    run_in_interpreter(__file__)


SCAN = problem.Scan()
GATED = {
    "scan": SCAN,
    **{
        name: cell
        for name, cell in CELLS.items()
        if problem.has_kernels(cell, "cuda") and cell.is_gated_sum
    },
    "no-srnn-hidden-coupled": get_cell("no-srnn-hidden", coupled_gates=True),
    "no-srnn-out-hidden-coupled": get_cell("no-srnn-out-hidden", coupled_gates=True),
}
every_cell = pytest.mark.parametrize("cell", GATED.values(), ids=GATED)

# In the slow interpreter, only the scan is tested in every case, each cell and case in one way.
CHOSEN = [
    (name, case, way)
    for i, name in enumerate(GATED)
    for j, case in enumerate(CASES)
    for k, way in enumerate(WAYS)
    if DEVICE != "cpu"
    or ((name == "scan" or case in ("odd", "chunks")) and (i + j + k) % len(WAYS) == 0)
]


def exact(cell, z, c_0, mask, reverse):
    """The equations, step by step, in float64."""
    if cell is SCAN:
        return scan_loop(*z.chunk(2, -1), c_0, mask, reverse)
    rows = dict(zip(cell.rows, z.chunk(len(cell.rows), dim=-1), strict=True))
    c, outputs = c_0, [None] * len(z)
    for t in reversed(range(len(z))) if reverse else range(len(z)):
        h, c_t = cell.step({row: values[t] for row, values in rows.items()}, c)
        stay = torch.zeros_like(c, dtype=torch.bool) if mask is None else mask[t].unsqueeze(-1)
        c = torch.where(stay, c, c_t)
        outputs[t] = h.masked_fill(stay, 0)
    return torch.stack(outputs), c


def split(cell, z):
    """The tensors of the operator with pre-activations: z and, for the scan, u, else None."""
    return z.chunk(2, -1) if cell is SCAN else (z, None)


def draw(cell, time, batch, units, dtype=torch.float32, size=1):
    """z, c_0, dy and dc_n. Some factors of a scan are 0, 1 and negative, some larger than 1.

    z of the scan has f and u: see `split`.
    """
    z = size * torch.randn(time, batch, (2 if cell is SCAN else len(cell.rows)) * units)
    if cell is SCAN:
        f, kind = z[..., :units].uniform_(-1.2, 1.2), torch.rand(time, batch, units)
        f.masked_fill_(kind < 0.15, 0).masked_fill_(kind > 0.8, 1)
    dy = torch.randn(time, batch, units).to(torch.float32 if cell is SCAN else dtype)
    return z.to(dtype), torch.randn(batch, units), dy, torch.randn(batch, units)


def compare(cell, case, reverse, where, dtype=torch.float32, size=1) -> None:
    """Outputs, final states and gradients of one case against float64, with NaN at padding.

    size: of the pre-activations.
    """
    from fairseq_wsum.recurrence.triton import memory_cell as kernels

    *sizes, plan = case
    z, c_0, dy, dc_n = draw(cell, *sizes, dtype, size)
    mask = mask_of(where, *sizes[:2])
    inputs = [z.double().requires_grad_(), c_0.double().requires_grad_()]
    right = exact(cell, *inputs, mask, reverse)
    gradients = torch.autograd.grad(right, inputs, (dy.double(), dc_n.double()))

    if mask is not None:
        z = z.masked_fill(mask.unsqueeze(-1), torch.nan)
        if cell is not SCAN:  # whose output at padding is the state
            dy = dy.masked_fill(mask.unsqueeze(-1), torch.nan)
    z, c_0, dy, dc_n, mask = on_device(z, c_0, dy, dc_n, mask)
    how, cell_id = None if plan is None else kernels.Plan(*plan), problem.encode(cell)
    forward, backward = operator_of("memory_cell", how)
    z, u = split(cell, z)
    y, c_n, cells = forward(z, None, c_0, mask, cell_id, reverse, True, u)
    rest = (z, None, c_0, mask, operators.or_equal(cells, y), cell_id, reverse)
    dz, dv, dc_0, du = backward(dy, dc_n, *rest)
    assert not dv.numel()
    dz = torch.cat((dz, du), -1) if cell is SCAN else dz
    names = ("y", "c_n", "dz", "dc_0")
    for name, a, b in zip(names, (y, c_n, dz, dc_0), (*right, *gradients), strict=True):
        error = error_of(a, b)
        assert error < tolerance(a.dtype, size), f"{name}: {error:.2g}"
    if mask is not None:
        assert dz[mask].eq(0).all()
    if INTERPRETS and reverse:  # the slow interpreter tests the rest in one direction only
        return
    nothing = backward(None, None, *rest)
    assert all(gradient.eq(0).all() for gradient in nothing)
    unsaved = forward(z, None, c_0, mask, cell_id, reverse, False, u)
    assert torch.equal(unsaved[0], y) and torch.equal(unsaved[1], c_n) and not unsaved[2].numel()


@inside
@pytest.mark.parametrize(("cell", "case", "way"), CHOSEN)
def test_the_memory_cell_equals_the_equations(cell, case, way) -> None:
    compare(GATED[cell], CASES[case], *WAYS[way])


@inside
@pytest.mark.parametrize("seed", range(5 if DEVICE == "cpu" else 10))
def test_the_memory_cell_equals_the_equations_for_any_size(seed) -> None:
    torch.manual_seed(seed)
    cell = list(GATED.values())[seed % len(GATED)]
    time, batch, units = (int(torch.randint(1, most, ())) for most in (20, 4, 7))
    steps, block, chunks = (2 ** int(torch.randint(0, most, ())) for most in (4, 4, 3))
    compare(cell, (time, batch, units, (steps, block, chunks)), seed % 2 == 1, "holes")


@inside
@pytest.mark.parametrize("side", [None, "left"], ids=lambda side: f"pad-{side}")
@pytest.mark.parametrize("coupled", [False, True], ids=["", "coupled"])
@pytest.mark.parametrize("cell", ["lstm", "no-srnn", "no-out"])
def test_a_single_step_of_a_cell_with_an_s_rnn_equals_the_equations(cell, coupled, side) -> None:
    compare(get_cell(cell, coupled_gates=coupled), (1, 3, 5, (1, 8, 1)), False, side)


@inside
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@every_cell
def test_only_stored_values_are_rounded_to_16_bits(cell, dtype) -> None:
    compare(cell, CASES["odd"], False, "left", dtype)


@inside
@every_cell
def test_saturated_gates_stay_accurate(cell) -> None:
    compare(cell, CASES["chunks"], True, "left", size=50)


@inside
def test_a_long_sequence_of_few_units_is_scanned_in_chunks() -> None:
    from fairseq_wsum.recurrence.triton.memory_cell import plan_for

    assert plan_for(260, 1, 3).chunks == 2
    compare(SCAN, (260, 1, 3, None), True, "holes")


@inside
@pytest.mark.parametrize("factor", [0, 1])
def test_factors_that_all_are_0_or_1_give_exact_cells(factor) -> None:
    from fairseq_wsum.recurrence.triton import memory_cell as kernels

    f = torch.full((9, 2, 3), float(factor), device=DEVICE)
    u = torch.randint(-5, 5, f.shape, device=DEVICE).float()
    c_0 = torch.ones(2, 3, device=DEVICE)
    forward, _ = operator_of("memory_cell", kernels.Plan(4, 4, 2))
    cells, c_n, _ = forward(f, None, c_0, None, problem.encode(SCAN), False, True, u)
    assert torch.equal(cells, c_0 + u.cumsum(0) if factor else u)
    assert torch.equal(c_n, cells[-1])


@inside
def test_tensors_may_have_any_strides() -> None:
    forward, backward = operator_of("memory_cell")
    z = torch.randn(6, 2, 20, device=DEVICE)[..., ::2]
    c_0, dc_n = torch.randn(5, 2, device=DEVICE).t(), torch.ones(1, 1, device=DEVICE).expand(2, 5)
    dy, mask = torch.ones(1, 1, 1).expand(6, 2, 5), (torch.rand(2, 6, device=DEVICE) < 0.4).t()
    results = []
    for tensors in ((z, c_0, dy, dc_n, mask), [x.contiguous() for x in (z, c_0, dy, dc_n, mask)]):
        z, c_0, dy, dc_n, mask = on_device(*tensors)
        rest = (problem.encode(CELLS["mingru"]), False)
        found = forward(z, None, c_0, mask, *rest, True)
        given = (dy, dc_n, z, None, c_0, mask, found[2], *rest)
        results.append((*found, *backward(*given)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@inside
def test_a_batch_of_no_sequences_has_no_cells() -> None:
    forward, backward = operator_of("memory_cell")
    z, c_0, dy, dc_n = on_device(*draw(SCAN, 3, 0, 5))
    rest = (problem.encode(SCAN), False)
    f, u = split(SCAN, z)
    y, c_n, _ = forward(f, None, c_0, None, *rest, True, u)
    gradients = backward(dy, dc_n, f, None, c_0, None, y, *rest)
    assert [tuple(x.shape) for x in (y, c_n, *gradients)] == [
        (3, 0, 5), (0, 5), (3, 0, 5), (0,), (0, 5), (3, 0, 5)
    ]  # fmt: skip


@inside
def test_the_operator_on_gpus_runs_these_kernels() -> None:
    """The operator is sent to the kernels for GPUs even where the tensors are on the CPU."""
    assert backend.why_missing() is None
    gpu = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
    z, c_0, dy, dc_n = on_device(*draw(SCAN, 4, 2, 3))
    rest = (problem.encode(SCAN), True)
    forward, backward = (
        getattr(torch.ops.fairseq_wsum, name).default.redispatch
        for name in ("memory_cell", "memory_cell_backward")
    )
    f, u = split(SCAN, z)
    y, c_n, _ = forward(gpu, f, None, c_0, None, *rest, True, u)
    df, _, dc_0, du = backward(gpu, dy, dc_n, f, None, c_0, None, y, *rest)
    inputs = [tensor.requires_grad_() for tensor in (f, u, c_0)]
    right = scan_reference(f, u, c_0, None, True)
    right += torch.autograd.grad(right, inputs, (dy, dc_n))
    for found, wanted in zip((y, c_n, df, du, dc_0), right, strict=True):
        torch.testing.assert_close(found, wanted)
