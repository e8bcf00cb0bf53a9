"""The Triton kernels in Triton's interpreter, against the C++ kernels or, on a GPU, the reference.

The interpreter has to be switched on before triton is imported, so these tests run in a process of
their own: see `test_triton_kernels`.
"""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from fairseq_wsum import ABLATIONS, WsumLSTM, equations, ops
from fairseq_wsum.ablation import get_ablation

INTERPRETS = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)
inside = pytest.mark.skipif(
    not INTERPRETS and DEVICE == "cpu", reason="run by test_triton_kernels, in the interpreter"
)


@needs_triton
@pytest.mark.skipif(INTERPRETS or DEVICE != "cpu", reason="the others run by themselves here")
def test_triton_kernels() -> None:
    """Runs this file with the interpreter."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-6000:]


CELLS = [
    (name, coupled)
    for name, cell in ABLATIONS.items()
    if not cell.is_recurrent
    for coupled in (False, True)
]
every_cell = pytest.mark.parametrize(
    ("ablation", "coupled"), CELLS, ids=[n + ("-coupled" if c else "") for n, c in CELLS]
)
# T, B, H and the plan: steps at a time, units of a program, chunks
CASES = {
    "one-of-each": (1, 1, 1, (1, 1, 1)),
    "odd": (7, 3, 5, (4, 8, 1)),
    "many-units": (5, 2, 33, (2, 16, 1)),
    "chunks": (13, 2, 5, (2, 8, 3)),
    "chunks-of-uneven-length": (9, 1, 3, (4, 4, 2)),
    "more-chunks-than-needed": (5, 2, 3, (2, 4, 4)),
}
# Largest difference from float64, over the largest number or 1; in bf16 what is stored is rounded.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 0.01, torch.float16: 2e-3}


def exact(cell, z, c_0, mask, reverse):  # type: ignore[no-untyped-def]
    """The equations, step by step, in float64."""
    rows = dict(zip(cell.input_rows, z.chunk(len(cell.input_rows), dim=-1), strict=True))
    c, outputs = c_0, [None] * len(z)
    for t in reversed(range(len(z))) if reverse else range(len(z)):
        h, c_t = equations.step(cell, {row: values[t] for row, values in rows.items()}, c)
        stay = torch.zeros_like(c, dtype=torch.bool) if mask is None else mask[t].unsqueeze(-1)
        c = torch.where(stay, c, c_t)
        outputs[t] = h.masked_fill(stay, 0)
    return torch.stack(outputs), c


@needs_triton
@inside
@pytest.mark.parametrize("side", [None, "left", "right"], ids=lambda side: f"pad-{side}")
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@every_cell
def test_the_gated_sum_is_the_equations(ablation, coupled, case, reverse, side) -> None:
    compare(ablation, coupled, case, reverse, side, torch.float32)


@needs_triton
@inside
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@every_cell
def test_in_16_bits_only_what_is_stored_is_rounded(ablation, coupled, dtype) -> None:
    compare(ablation, coupled, CASES["odd"], False, "left", dtype)


def compare(ablation, coupled, case, reverse, side, dtype) -> None:  # type: ignore[no-untyped-def]
    """Outputs, final states and gradients of one case against float64."""
    from fairseq_wsum.backends import triton_gated_sum as kernels

    time, batch, units, plan = case
    cell = get_ablation(ablation, coupled_gates=coupled)
    z = torch.randn(time, batch, len(cell.input_rows) * units).to(dtype)
    c_0, dc_n = torch.randn(batch, units), torch.randn(batch, units)
    dy = torch.randn(time, batch, units).to(dtype)
    mask = None
    if side is not None:
        steps, lengths = torch.arange(time).unsqueeze(1), torch.arange(batch) * 2 % (time + 1)
        mask = steps >= lengths if side == "right" else steps < time - lengths

    inputs = [z.double().requires_grad_(), c_0.double().requires_grad_()]
    right = exact(cell, *inputs, mask, reverse)
    gradients = torch.autograd.grad(right, inputs, (dy.double(), dc_n.double()))

    z, c_0, dy, dc_n = (tensor.to(DEVICE) for tensor in (z, c_0, dy, dc_n))
    mask = None if mask is None else mask.to(DEVICE)
    how, bits = kernels.Plan(*plan), ops.encode(cell)
    y, c_n, cells = kernels.gated_sum(z, c_0, mask, bits, reverse, True, how)
    found = kernels.gated_sum_backward(dy, dc_n, z, c_0, mask, cells, bits, reverse, how)
    names = ("y", "c_n", "dz", "dc_0")
    for name, a, b in zip(names, (y, c_n, *found), (*right, *gradients), strict=True):
        error = (a.double().cpu() - b).abs().amax() / b.abs().amax().clamp_min(1)
        assert error < TOLERANCE[dtype], f"{name}: {error:.2g}"
    nothing = kernels.gated_sum_backward(None, None, z, c_0, mask, cells, bits, reverse, how)
    assert all(gradient.eq(0).all() for gradient in nothing)


@needs_triton
@inside
def test_a_plan_cuts_long_sequences_only_where_there_are_few_units() -> None:
    from fairseq_wsum.backends import triton_gated_sum as kernels

    assert kernels.plan(512, 32, 1024).chunks == 2
    assert kernels.plan(64, 1, 64).chunks == 1
    assert kernels.plan(100_000, 1, 64).chunks == kernels.ENOUGH_PROGRAMS
    assert kernels.plan(3, 2, 5) == kernels.Plan(steps=4, block=8, chunks=1)


@needs_triton
@pytest.mark.parametrize("totals", [False, True], ids=["whole", "totals"])
@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernels_compile_for_a_gpu_that_is_not_here(capability, totals) -> None:
    if INTERPRETS:
        pytest.skip("the interpreter compiles nothing")
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from fairseq_wsum.backends import triton_gated_sum as kernels

    flags = dict(PADDED=True, COUPLED=False, OUTPUT_GATE=True, REVERSE=True, TOTALS=totals)
    tile = dict(STEPS=16, BLOCK=128)
    for kernel, more in (
        (kernels._forward, dict(SAVE=True)),
        (kernels._backward, dict(HAS_DY=True)),
        (kernels._between, None),
    ):
        constants = dict(BLOCK=128) if more is None else {**flags, **tile, **more}
        signature = {}
        for name in kernel.arg_names:
            real = "*bf16" if name in ("z_ptr", "y_ptr", "dy_ptr", "dz_ptr") else "*fp32"
            if name in constants:
                signature[name] = "constexpr"
            elif name.endswith("_ptr"):
                signature[name] = "*u8" if name == "padding_ptr" else real
            else:
                signature[name] = "i32"
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        assert compiled.asm["cubin"]


def test_on_a_cpu_the_backend_says_why_not() -> None:
    with pytest.raises(RuntimeError, match="'triton' cannot run this layer: it runs on GPUs"):
        WsumLSTM(3, 4, ablation="no-srnn-hidden", backend="triton")(torch.zeros(2, 1, 3))
