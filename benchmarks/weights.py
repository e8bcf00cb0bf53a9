"""Time and memory of the weighted sum as data, against a forward pass of the same layer.

The memory is the peak of the process, less its peak before the first forward pass. It can only
grow, so each row holds those above it.
"""

from __future__ import annotations

import argparse
import resource
import statistics
from collections.abc import Callable
from functools import partial
from timeit import repeat

import torch

from fairseq_wsum import CELLS, WsumLSTM
from fairseq_wsum.argument_types import positive
from fairseq_wsum.cli import table
from fairseq_wsum.machine import machine
from fairseq_wsum.weights import lifetimes, norms, trace


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, with `arguments` or those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    cells = [name for name, cell in CELLS.items() if cell.has_memory]
    add("--cell", choices=cells, default="no-srnn-hidden")
    add("--steps", type=positive, default=10_000, help="time steps of one sequence (10000)")
    add("--units", type=positive, default=650, help="hidden units and input features (650)")
    add("--rounds", type=positive, default=3, help="timings of each (3)")
    args = parser.parse_args(arguments)
    print(f"{machine()}; {args.cell}, {args.steps} steps, {args.units} units, fp32\n")
    layer = WsumLSTM(args.units, args.units, cell=args.cell)
    x = torch.randn(args.steps, 1, args.units)

    def timed(function: Callable[[], object]) -> tuple[float, float]:
        """The time of a call, and the peak after it."""
        return statistics.median(repeat(function, number=1, repeat=args.rounds)), peak()

    with torch.no_grad():
        layer(x[:10])
        before = peak()
        found = {"forward pass": timed(partial(layer, x)), "trace": timed(partial(trace, layer, x))}
        (one,) = trace(layer, x)
        found |= {f.__name__: timed(partial(f, one)) for f in (lifetimes, norms)}
    forward, _ = found["forward pass"]
    rows = [
        {
            "function": name,
            "seconds": f"{seconds:.2f}",
            "forward passes": f"{seconds / forward:.2f}",
            "peak memory, MB": f"{most - before:.0f}",
        }
        for name, (seconds, most) in found.items()
    ]
    print(table(rows))


def peak() -> float:
    """The most memory that the process has held so far, in MB (Linux reports KB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
