"""Time the Triton kernels with other plans and tilings than those that they choose.

The fastest for your GPU and sizes may be another than the choice of `plan_for` and `tiling_for` in
fairseq_wsum/recurrence/triton. Each is timed as a CUDA graph, forward (which saves what backward
needs) and backward.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

import report
import torch
from layers import median_times
from report import DTYPES, Shape

from fairseq_wsum import CELLS
from fairseq_wsum.recurrence import operators, problem, triton
from fairseq_wsum.recurrence.triton.tiling import TILES, Tiling, processors_of, tiling_for

SHAPES: tuple[Shape, ...] = ((512, 32, 1024), (64, 64, 512), (35, 20, 650))
SHORTEST_CHUNK = 32  # steps
FEWEST, MOST = 4, 40  # elements of a tile that a thread holds; with more, registers are spilled

Passes = Mapping[str, Callable[[], object]]


def plans(shape: Shape) -> Iterator[Any]:
    """The plans to try for a gated sum, that of the kernels first."""
    from fairseq_wsum.recurrence.triton.memory_cell import Plan, plan_for

    steps, _, units = shape
    yield plan_for(*shape)
    chunk_numbers = [n for n in (1, 4, 16, 64) if n == 1 or steps // n >= SHORTEST_CHUNK]
    for rows, block, chunks, warps, stages in product(
        (4, 8, 16, 32), (32, 64, 128, 256), chunk_numbers, (1, 2, 4), (1, 3)
    ):
        plan = Plan(rows, block, chunks, warps, stages)
        fits = block < 2 * units and FEWEST <= rows * block / (32 * warps) <= MOST
        if fits and plan != plan_for(*shape):
            yield plan


def tilings(shape: Shape, dtype: torch.dtype, processors: int) -> Iterator[Tiling]:
    """The tilings to try for a cell with a recurrent matrix, that of the kernels first."""
    _, batch, units = shape
    own = tiling_for(batch, units, dtype, processors)
    yield own
    small = 128 // dtype.itemsize
    for (sequences, tile), inner in product((*TILES, (32, 32), (128, 32)), (small, 2 * small)):
        programs = math.ceil(batch / sequences) * math.ceil(units / tile)
        tiling = Tiling(sequences, tile, inner, together=programs <= processors)
        if sequences < max(17, 2 * batch) and tiling != own:
            yield tiling


def gated_sum(cell: str, shape: Shape, dtype: torch.dtype, device: str) -> Callable[[Any], Passes]:
    """A function that returns both passes of a gated sum under a plan."""
    from fairseq_wsum.recurrence.triton import memory_cell as kernels

    (steps, batch, units), cell_id = shape, problem.encode(CELLS[cell])
    z = torch.randn(steps, batch, len(CELLS[cell].rows) * units, device=device, dtype=dtype)
    dy = torch.randn(steps, batch, units, device=device, dtype=dtype)
    c_0 = torch.zeros(batch, units, device=device)

    def passes(plan: Any) -> Passes:
        launch = partial(kernels.launch, plan=plan)
        forward = partial(operators.memory_cell, launch, z, None, c_0, None, cell_id, False, True)
        y, _, cells = forward()
        given = (dy, None, z, None, c_0, None, operators.or_equal(cells, y), cell_id, False)
        backward = partial(operators.memory_cell_backward, launch, *given)
        return {"forward": forward, "backward": backward}

    return passes


def recurrence(cell: str, shape: Shape, dtype: torch.dtype, device: str) -> Callable[[Any], Passes]:
    """A function that returns both passes of a cell with a recurrent matrix under a tiling."""
    from fairseq_wsum.recurrence.triton import recurrence as kernels

    (steps, batch, units), one = shape, CELLS[cell]
    options: Any = dict(device=device, dtype=dtype)
    z = torch.randn(steps, batch, len(one.rows) * units, **options)
    w_hh = torch.randn(len(one.hidden_rows) * units, units, **options) / units**0.5
    h_0, dy = torch.zeros(batch, units, **options), torch.randn(steps, batch, units, **options)
    c_0 = torch.zeros(batch, units, device=device) if one.has_memory else None
    rest = (problem.encode(one), False)

    def passes(tiling: Any) -> Passes:
        launch = partial(kernels.launch, tiling=tiling)
        given = (z, w_hh, None, None, h_0, c_0, None, *rest, True)
        forward = partial(operators.recurrence, launch, *given)
        saved, cells, _ = operators.kept_outputs(forward(), None, c_0, None)
        gradients = (dy, None, None, w_hh, None, h_0, c_0, None, saved, cells, *rest)
        backward = partial(operators.recurrence_backward, launch, *gradients)
        return {"forward": forward, "backward": backward}

    return passes


def measure(
    cell: str, shape: Shape, dtype: torch.dtype, device: str, rounds: int
) -> Iterator[dict[str, str]]:
    """A row of the table for each plan or tiling, as soon as it is measured."""
    from triton.runtime.errors import OutOfResources

    if CELLS[cell].has_recurrent_matrix:
        make = recurrence(cell, shape, dtype, device)
        tried: Iterator[Any] = tilings(shape, dtype, processors_of(torch.device(device)))
    else:
        make, tried = gated_sum(cell, shape, dtype, device), plans(shape)
    for number, how in enumerate(tried):
        row = {"T, B, H": ", ".join(map(str, shape)), "own": "*" if number == 0 else ""}
        row |= {name: str(value) for name, value in how._asdict().items()}
        try:
            seconds = median_times(make(how), rounds, device, graphs=device != "cpu")
        except OutOfResources as error:  # of the shared memory or registers of a multiprocessor
            yield row | {"forward us": str(error), "backward us": ""}
            continue
        yield row | {f"{name} us": f"{1e6 * value:.1f}" for name, value in seconds.items()}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, with `arguments` or those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    cells = [name for name, cell in CELLS.items() if problem.has_kernels(cell, "cuda")]
    device = ("cuda", "a GPU, such as cuda (default) or cuda:1")
    report.add_measurement(parser, cells, SHAPES, "no-srnn-hidden lstm", device)
    args = parser.parse_args(arguments)
    report.check_device(args.device)
    reason = triton.why_not(CELLS["lstm"], torch.device(args.device), DTYPES[args.dtype], False)
    if reason is not None:
        raise RuntimeError(f"the Triton kernels cannot run: {reason}")
    title = f"{args.dtype}, medians of {args.rounds}; {report.machine(args.device)}"
    print(title, flush=True)
    results = []
    for cell, shape in product(args.cells or ["no-srnn-hidden", "lstm"], args.shapes):
        print(f"\n{cell}", flush=True)
        for number, row in enumerate(
            measure(cell, shape, DTYPES[args.dtype], args.device, args.rounds)
        ):
            report.print_rows([row], header=number == 0)
            results.append({"cell": cell, **row})
    if args.json:
        report.write_json(args.json, {"title": title, "results": results})


if __name__ == "__main__":
    report.end_with_errors(main)
