"""The machine code of the Triton kernels, compiled for GPUs that need not be there."""

import math

import pytest
import torch
from triton_helpers import INTERPRETS, needs_triton

from fairseq_wsum import CELLS
from fairseq_wsum.recurrence import problem
from fairseq_wsum.recurrence.triton.tiling import TILES, Tiling, tiling_for

pytestmark = [
    needs_triton,
    pytest.mark.skipif(INTERPRETS, reason="the interpreter compiles nothing"),
]


@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernels_compile_for_an_absent_gpu(capability) -> None:
    """The oldest that we support with every kernel, a newer one with one of each kind."""
    from fairseq_wsum.recurrence.triton import memory_cell as kernels

    plan, flags = kernels.Plan(), dict(PADDED=True, REVERSE=True, H=650)
    for cell in MEMORY_CELLS if capability == 80 else MEMORY_CELLS[:1]:
        sizes = dict(STEPS=plan.steps, BLOCK=plan.block)
        for totals in (False, True):
            for kernel, constants in memory_cell_kernels(cell):
                constants = {**constants, **flags, **sizes, "TOTALS": totals}
                compile_for(capability, kernel, constants)
    compile_for(capability, kernels._between, dict(BLOCK=plan.block, H=650))
    step = dict(STEPS=1, BLOCK=8, TOTALS=False)  # a single step of a small layer
    for kernel, constants in memory_cell_kernels(CELLS["lstm"]):
        constants = {**constants, **flags, **step, "H": 5}
        compile_for(capability, kernel, constants, dtype=torch.float16)
    for name, sequences, units in (("no-srnn", 16, 16), ("lstm", 64, 32), ("no-gates", 32, 16)):
        how = Tiling(sequences, units, 64, together=True)
        for kernel, constants in recurrence_kernels(CELLS[name], how, units=650):
            compile_for(capability, kernel, {**flags, **constants}, how.warps)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_prefetched_products_fit_into_shared_memory(dtype) -> None:
    """For the GPUs with the least of it, 99 KB: what is read ahead goes there.

    A launch with more fails. Whether the compiler reads ahead is seen in the speed alone. 512 units
    have the largest blocks; other numbers have these or smaller ones.
    """
    units = 512
    own = {tiling_for(64, units, dtype, math.ceil(units / 16) * n) for n in (4, 2, 1, 0)}
    assert [how[:2] for how in sorted(own)] == sorted(TILES)
    for how in own:
        for kernel, constants in recurrence_kernels(CELLS["lstm"], how, units):
            constants |= dict(PADDED=False, REVERSE=False)
            compiled = compile_for(86, kernel, constants, how.warps, dtype)
            assert compiled.metadata.shared <= 99 * 1024


MEMORY_CELLS = [problem.Scan(), *(CELLS[n] for n in ("no-srnn-hidden", "minlstm", "qrnn"))]


def memory_cell_kernels(cell):
    """Both kernels, each with the constants of its launch."""
    from fairseq_wsum.recurrence.triton import memory_cell as kernels

    no_mask = dict(padding=None)
    given = problem.Problem("memory_cell", problem.encode(cell), False, False, {}, no_mask)
    own = kernels._options(given)
    for kernel, more in ((kernels._forward, "SAVE"), (kernels._backward, "HAS_DY")):
        options = own | kernels.EQUATIONS[type(cell)]._asdict() | {more: True}
        yield kernel, {key: options[key] for key in kernel.arg_names if key in options}


def recurrence_kernels(cell, how, units):
    """Both kernels, each with the constants of its launch."""
    from fairseq_wsum.recurrence.triton import recurrence as launchers
    from fairseq_wsum.recurrence.triton import recurrence_kernels as kernels

    cell_id = problem.encode(cell)
    tile = dict(H=units, BM=how.sequences, BN=how.units, BK=how.inner, PRECISION="ieee")
    shared = launchers._rows_of_z(cell_id) | tile
    yield kernels.forward, {**shared, **launchers._places("H", cell.hidden_rows), "SAVE": True}
    yield kernels.backward, {**shared, **launchers._ranges_of_hidden_rows(cell_id), "HAS_DY": True}


# The arguments of kernels that have the dtype of the layer.
IN_LAYER_DTYPE = ("z", "u", "w", "h", "y", "dy", "dz", "du", "saved", "states")


POINTERS = {torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.float32: "*fp32"}


def compile_for(capability, kernel, constants, warps=4, dtype=torch.bfloat16):
    """Compile to machine code, with tensors in `dtype` where a layer has them so, as torch's
    allocator places them."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {"padding_ptr": "*u8", "counter_ptr": "*i32"}
    for name in IN_LAYER_DTYPE:
        types[f"{name}_ptr"] = POINTERS[dtype]
    signature, aligned = {}, {}
    for i, name in enumerate(kernel.arg_names):
        other = "*fp32" if name.endswith("_ptr") else "i32"
        signature[name] = "constexpr" if name in constants else types.get(name, other)
        if name.endswith("_ptr"):
            aligned[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    target, options = GPUTarget("cuda", capability, 32), {"num_warps": warps}
    compiled = triton.compile(source, target=target, options=options)
    assert compiled.asm["cubin"]
    return compiled
