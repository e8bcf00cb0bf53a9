"""Options and times, shared by the benchmarks."""

from __future__ import annotations

import argparse
import statistics
import timeit
from collections.abc import Callable, Mapping, Sequence

import torch

from fairseq_wsum.argument_types import positive
from fairseq_wsum.cli import DTYPES

Shape = tuple[int, int, int]  # T, B, H


def add_options(
    parser: argparse.ArgumentParser, cells: Sequence[str], shapes: Sequence[Shape]
) -> None:
    """Add the options for what is measured, how often, and where. Without --cells it is None."""
    add = parser.add_argument
    add("--cells", nargs="+", choices=cells, metavar="NAME", help="cells to measure (default: all)")
    usual = " ".join(",".join(map(str, shape)) for shape in shapes)
    sizes = f"numbers of time steps, sequences and units (default: {usual})"
    add("--shapes", nargs="+", type=_shape, default=shapes, metavar="T,B,H", help=sizes)
    add("--dtype", choices=DTYPES, default="fp32", help="floating-point type (default fp32)")
    add("--device", default="cpu", help="cpu (default) or cuda")
    add("--rounds", type=positive, default=15, help="timings of each (default 15)")


def _shape(text: str) -> Shape:
    steps, batch, units = map(positive, text.split(","))
    return steps, batch, units


def median_times(
    steps: Mapping[str, Callable[[], object]], rounds: int, device: str, graphs: bool = False
) -> dict[str, float]:
    """The median time of each step in seconds; the steps take turns.

    Changes in the speed of the machine thus affect all steps alike. With `graphs` each step is
    recorded as a CUDA graph, and its replay is timed. Otherwise small steps take the time in which
    the host launches their kernels.
    """
    for step in steps.values():  # the first run chooses, compiles and allocates
        step()
    if graphs:
        with torch.cuda.device(device):
            steps = {name: _graph(step).replay for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            seconds[name].append(time_of(step, device))
    return {name: statistics.median(values) for name, values in seconds.items()}


def time_of(step: Callable[[], object], device: str = "cpu") -> float:
    """The time of one call in seconds, without Python's garbage collection."""

    def run() -> None:
        step()
        wait(device)

    wait(device)
    return timeit.timeit(run, number=1)


def wait(device: str) -> None:
    """Wait until the device has done all that was launched."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def _graph(step: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """Record what a step launches on the current device."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph
