"""Time and memory of the weighted sum as data, against a forward pass of the same layer."""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from report import end_with_errors, machine, positive, table

from fairseq_wsum import CELLS, WsumLSTM
from fairseq_wsum.weights import lifetimes, norms, trace


def main() -> None:
    """Run the benchmark with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    cells = [name for name, cell in CELLS.items() if cell.has_memory]
    add("--cell", choices=cells, default="no-srnn-hidden")
    add("--steps", type=positive, default=10_000, help="time steps of one sequence (10000)")
    add("--units", type=positive, default=650, help="hidden units and input features (650)")
    add("--rounds", type=positive, default=3, help="timings of each (3)")
    args = parser.parse_args()
    print(f"{machine()}; {args.cell}, {args.steps} steps, {args.units} units, fp32\n")
    print(table(measure(args.cell, args.steps, args.units, args.rounds)))


def measure(cell: str, steps: int, units: int, rounds: int) -> list[dict[str, str]]:
    """One row for each function: its time, as a multiple of a forward pass, and peak memory.

    The peak is that of the process, less its peak before the first forward pass. It can only grow,
    so each row holds those above it. The last row has the result itself, T x T norms.
    """
    layer = WsumLSTM(units, units, cell=cell)
    x = torch.randn(steps, 1, units)
    with torch.no_grad():
        layer(x[:10])
        before = _peak()
        forward = _seconds(lambda: layer(x), rounds)
        rows = [_row("forward pass", forward, forward, before)]
        rows.append(_row("trace", _seconds(lambda: trace(layer, x), rounds), forward, before))
        (one,) = trace(layer, x)
        for function in (lifetimes, norms):
            seconds = _seconds(partial(function, one), rounds)
            rows.append(_row(function.__name__, seconds, forward, before))
    return rows


def _seconds(run: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _row(name: str, seconds: float, forward: float, before: float) -> dict[str, str]:
    return {
        "function": name,
        "seconds": f"{seconds:.2f}",
        "forward passes": f"{seconds / forward:.2f}",
        "peak memory, MB": f"{_peak() - before:.0f}",
    }


def _peak() -> float:
    """The most memory that the process has held so far, in MB (Linux reports KB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    end_with_errors(main)
