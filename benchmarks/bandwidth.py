"""Compare the memory bandwidth of the kernels of cells without h_{t-1} with that of a copy.

A kernel reads its inputs once, writes its outputs once, and computes little, so on a GPU the
bandwidth of a copy is its upper bound. There each pass is timed as a CUDA graph.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from measure import Shape, add_options, median_times

from fairseq_wsum import CELLS
from fairseq_wsum.cli import DTYPES, table
from fairseq_wsum.machine import machine
from fairseq_wsum.recurrence import operators, problem

WITHOUT_PRODUCTS = [name for name, cell in CELLS.items() if not cell.has_recurrent_matrix]
SHAPES: tuple[Shape, ...] = ((512, 32, 1024),)  # large enough to fill a GPU


def measure(name: str, shape: Shape, dtype: str, device: str, rounds: int) -> dict[str, str]:
    """Time a cell's training kernels, forward (which saves the cells) and backward, and a copy.

    Returns the row of a table.
    """
    cell, (steps, batch, units) = CELLS[name], shape
    z = torch.randn(steps, batch, len(cell.rows) * units, device=device, dtype=DTYPES[dtype])
    c_0 = torch.zeros(batch, units, device=device)
    v = torch.randn(len(cell.vectors), units, device=device) if cell.vectors else None
    cell_and_reverse = (problem.encode(cell), False)
    memory_cell = torch.ops.fairseq_wsum.memory_cell
    forward = partial(memory_cell, z, v, c_0, None, *cell_and_reverse, True)
    y, c_n, cells = forward()
    cells = operators.or_equal(cells, y)
    dy = torch.ones_like(y)
    backward = partial(
        torch.ops.fairseq_wsum.memory_cell_backward,
        *(dy, None, z, v, c_0, None, cells, *cell_and_reverse),
    )
    moved = {
        "forward": (z, c_0, y, c_n, cells),
        "backward": (dy, z, c_0, cells, *backward()),
        "copy": (z, z.clone()),
    }
    passes: dict[str, Callable[[], object]]
    passes = {"forward": forward, "backward": backward, "copy": z.clone}
    seconds = median_times(passes, rounds, device, graphs=device != "cpu")
    size = {k: sum({id(t): t.nbytes for t in moved[k]}.values()) for k in passes}
    rates = {k: size[k] / seconds[k] for k in passes}
    return {
        "cell": name,
        "T, B, H": ", ".join(map(str, shape)),
        **{f"{k} ms": f"{seconds[k] * 1e3:.3f}" for k in ("forward", "backward")},
        **{f"{k} GB/s": f"{rate / 1e9:.1f}" for k, rate in rates.items()},
        "forward / copy": f"{rates['forward'] / rates['copy']:.2f}",
        "backward / copy": f"{rates['backward'] / rates['copy']:.2f}",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, with `arguments` or those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, WITHOUT_PRODUCTS, SHAPES)
    args = parser.parse_args(arguments)
    kind = torch.device(args.device).type
    usual = [name for name in WITHOUT_PRODUCTS if problem.has_kernels(CELLS[name], kind)]
    print(f"{args.dtype}, medians of {args.rounds}; {machine(args.device)}\n", flush=True)
    how = (args.dtype, args.device, args.rounds)
    print(table([measure(n, s, *how) for s in args.shapes for n in args.cells or usual]))


if __name__ == "__main__":
    main()
