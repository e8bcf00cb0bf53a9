"""Compare the memory bandwidth of the kernels of cells without h_{t-1} with that of a copy.

A kernel reads its inputs once, writes its outputs once, and computes little, so on a GPU the
bandwidth of a copy is its upper bound. There each pass is timed as a CUDA graph. By default all
cells are measured that have a kernel on the device.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import report
import torch
from layers import median_times
from report import DTYPES, Shape

from fairseq_wsum import CELLS
from fairseq_wsum.recurrence import BACKENDS, operators, problem

WITHOUT_PRODUCTS = tuple(name for name, cell in CELLS.items() if not cell.has_recurrent_matrix)
SHAPES: tuple[Shape, ...] = ((512, 32, 1024),)  # large enough to fill a GPU


@dataclass(frozen=True)
class Bandwidth:
    """The bandwidth of one cell at one shape (T, B, H), in bytes per second."""

    layer: str
    shape: Shape
    forward: float
    backward: float
    copy: float

    def row(self) -> dict[str, str]:
        """The row of a table."""
        return {
            "cell": self.layer,
            "T, B, H": ", ".join(map(str, self.shape)),
            "copy GB/s": f"{self.copy / 1e9:.1f}",
            "forward GB/s": f"{self.forward / 1e9:.1f}",
            "backward GB/s": f"{self.backward / 1e9:.1f}",
            "forward / copy": f"{self.forward / self.copy:.2f}",
            "backward / copy": f"{self.backward / self.copy:.2f}",
        }


def measure(
    shape: Shape,
    names: Sequence[str] | None = None,
    dtype: str = "fp32",
    device: str = "cpu",
    rounds: int = 15,
) -> list[Bandwidth]:
    """Time the training kernels, forward (which saves the cells) and backward, and a copy.

    Args:
        shape: T, B, H.
        names: names from `WITHOUT_PRODUCTS`; by default those that have a kernel on the device.
        dtype: a key of `DTYPES`.
        device: the device.
        rounds: the number of timings of each.

    Raises:
        RuntimeError: the device and dtype have no kernel; the message says why.
    """
    place = torch.device(device)
    kernel = BACKENDS["cpp" if place.type == "cpu" else "triton"]
    if names is None:
        names = [n for n in WITHOUT_PRODUCTS if problem.has_kernels(CELLS[n], place.type)]
    results = []
    for name in names:
        cell, (steps, batch, units) = CELLS[name], shape
        reason = kernel.why_not(cell, place, DTYPES[dtype], False)
        if not problem.has_kernels(cell, place.type):
            reason = "it has no kernel of its own here: leave it out"
        if reason is not None:
            raise RuntimeError(f"backend {kernel.name!r} cannot run {name}: {reason}")
        z = torch.randn(steps, batch, len(cell.rows) * units, device=place, dtype=DTYPES[dtype])
        c_0 = torch.zeros(batch, units, device=place)
        vectors = len(cell.vectors)
        v = torch.randn(vectors, units, device=place) if vectors else None
        cell_and_reverse = (problem.encode(cell), False)
        given = (z, v, c_0, None, *cell_and_reverse)
        forward = partial(torch.ops.fairseq_wsum.memory_cell, *given, True)
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
        passes: dict[str, Callable[[], object]] = dict(
            forward=forward, backward=backward, copy=z.clone
        )
        seconds = median_times(passes, rounds, device, graphs=device != "cpu")
        size = {k: sum({id(t): t.nbytes for t in moved[k]}.values()) for k in passes}
        rates = {k: size[k] / seconds[k] for k in passes}
        results.append(Bandwidth(name, shape, **rates))
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, with `arguments` or those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = "all that have a kernel on the device"
    report.add_measurement(parser, list(WITHOUT_PRODUCTS), SHAPES, default)
    args = parser.parse_args(arguments)
    report.check_device(args.device)
    title = f"{args.dtype}, medians of {args.rounds}; {report.machine(args.device)}"
    print(title, flush=True)
    results = []
    for shape in args.shapes:
        results += measure(shape, args.cells, args.dtype, args.device, args.rounds)
    print(report.table([result.row() for result in results]))
    if args.json:
        record = {"title": title, "results": [dataclasses.asdict(r) for r in results]}
        report.write_json(args.json, record)


if __name__ == "__main__":
    report.end_with_errors(main)
