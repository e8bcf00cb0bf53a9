"""Compare one layer with torch's own: nn.LSTM, nn.GRU for the GRU's relatives, nn.RNN for no-gates.

Prints the time of the forward pass, the time of forward and backward, and the memory. The package
of the SRU is compared with nn.LSTM if it is installed.

Shapes are T (time steps), B (sequences), H (units and, without --inputs, input features).
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib
import logging
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import report
import torch
from report import DTYPES, Shape
from torch import Tensor, nn

from fairseq_wsum import CELLS, WsumLSTM, recurrence
from fairseq_wsum.cells import Cell

PEERS = {"no-gates": nn.RNN, **dict.fromkeys(("gru", "mingru", "minlstm", "qrnn"), nn.GRU)}

# A translation model on Multi30k, a small and a medium language model, and long sequences.
SHAPES: tuple[Shape, ...] = ((13, 64, 500), (20, 20, 200), (35, 20, 650), (128, 16, 512))
# For the picture: one of the three sizes grows, and the others are fixed.
GROWTH: dict[str, tuple[Shape, ...]] = {
    "time steps": tuple((t, 16, 256) for t in (8, 16, 32, 64, 128, 256)),
    "sequences": tuple((32, b, 256) for b in (1, 4, 16, 64, 128)),
    "units": tuple((32, 16, h) for h in (64, 128, 256, 512, 1024)),
}


@dataclass(frozen=True)
class Result:
    """The medians of one layer at one shape, and of its peer, which was timed in turn with it.

    Times are in seconds. Memory is the peak that torch allocates during forward and backward, in
    bytes, without the scratch space that kernels allocate themselves.
    """

    layer: str
    peer: str
    shape: Shape
    padded: bool
    forward: float
    both: float
    memory: int
    peer_forward: float
    peer_both: float
    peer_memory: int

    @property
    def faster(self) -> float:
        """How many times as fast as its peer the layer is, forward and backward."""
        return self.peer_both / self.both

    def row(self) -> dict[str, str]:
        """The row of a table."""
        return {
            "layer": self.layer + (" with a mask" if self.padded else ""),
            "peer": self.peer,
            "T, B, H": ", ".join(map(str, self.shape)),
            "forward ms": f"{1000 * self.forward:.2f}",
            "forward + backward ms": f"{1000 * self.both:.2f}",
            "times as fast: forward": f"{self.peer_forward / self.forward:.2f}",
            "forward + backward": f"{self.faster:.2f}",
            "memory / peer": f"{self.memory / self.peer_memory:.2f}",
        }


@dataclass
class Subject:
    """Something to time: a layer and its input."""

    name: str
    layer: nn.Module
    x: Tensor
    mask: Tensor | None = None

    def forward(self) -> None:
        with torch.no_grad():
            self._run()

    def clear(self) -> None:
        self.x.grad = None
        self.layer.zero_grad()

    def both(self) -> None:
        self.clear()
        y = self._run()
        y.backward(torch.ones_like(y))

    def _run(self) -> Tensor:
        y: Tensor
        if self.mask is None:
            y, _ = self.layer(self.x)
        else:
            y, _ = self.layer(self.x, None, self.mask)
        return y


def compare(
    shape: Shape,
    cells: Sequence[str] = tuple(CELLS),
    dtype: str = "fp32",
    device: str = "cpu",
    backend: str = "auto",
    rounds: int = 15,
    masks: bool = False,
    scans: bool = False,
    inputs: int | None = None,
    graphs: bool = False,
) -> list[Result]:
    """Time layers of these cells and their peers, in turn.

    Args:
        shape: T, B, H.
        cells: the cells of the layers.
        dtype: a key of `DTYPES`.
        device: the device of the layers and their peers.
        backend: the backend of the layers.
        rounds: the number of timings of each.
        masks: also time each cell with a mask of random lengths; its peer is itself without one.
        scans: also time each gated sum on the scan; its peer is its own kernel.
        inputs: number of input features; H by default.
        graphs: time CUDA graphs: see `median_times`.
    """
    steps, batch, units = shape
    options: dict[str, Any] = dict(device=device, dtype=DTYPES[dtype])
    inputs = units if inputs is None else inputs
    x = torch.randn(steps, batch, inputs, **options, requires_grad=True)
    subjects, pairs = _subjects(x, units, cells, masks, scans, backend, options)
    timed = partial(median_times, rounds=rounds, device=device, graphs=graphs)
    forward = timed({name: s.forward for name, s in subjects.items()})
    both = timed({name: s.both for name, s in subjects.items()})
    memory = {}
    for name, subject in subjects.items():
        subject.clear()
        memory[name] = peak_memory(subject.both, device)
    return [
        Result(
            layer=subjects[name].name,
            peer=peer,
            shape=shape,
            padded=subjects[name].mask is not None,
            forward=forward[name],
            both=both[name],
            memory=memory[name],
            peer_forward=forward[peer],
            peer_both=both[peer],
            peer_memory=memory[peer],
        )
        for name, peer in pairs
    ]


def _subjects(
    x: Tensor,
    units: int,
    cells: Sequence[str],
    masks: bool,
    scans: bool,
    backend: str,
    options: Mapping[str, Any],
) -> tuple[dict[str, Subject], list[tuple[str, str]]]:
    """What `compare` times, by name, and the pairs of a name and that of its peer."""
    steps, batch, inputs = x.shape
    subjects = {}
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        name = f"nn.{kind.__name__}"
        subjects[name] = Subject(name, kind(inputs, units, **options), x)
    pairs = []
    make = partial(WsumLSTM, inputs, units, backend=backend, **options)
    for name in cells:
        layer = make(cell=name)
        subjects[name] = Subject(name, layer, x)
        pairs.append((name, f"nn.{PEERS.get(name, nn.LSTM).__name__}"))
        if name == "qrnn":
            wide = "qrnn, window 2"
            subjects[wide] = Subject(wide, make(cell=name, window=2), x)
            pairs.append((wide, "nn.GRU"))
        if scans and CELLS[name].is_gated_sum:
            on_scan = make(cell=_without_kernel(name))
            subjects[f"{name}, scan"] = Subject(f"{name} on scan", on_scan, x)
            pairs.append((f"{name}, scan", name))
        if masks:
            seed = torch.Generator().manual_seed(1)  # the same lengths in every run
            lengths = torch.randint(steps // 2, steps + 1, (batch,), generator=seed)
            mask = (torch.arange(steps).unsqueeze(1) >= lengths).to(x.device)
            subjects[f"{name}, mask"] = Subject(name, layer, x, mask)
            pairs.append((f"{name}, mask", name))
    sru = _sru(inputs, units, options)
    if sru is not None:
        subjects["SRU"] = Subject("SRU", sru, x)
        pairs.append(("SRU", "nn.LSTM"))
    wanted = {name for pair in pairs for name in pair}
    return {name: subject for name, subject in subjects.items() if name in wanted}, pairs


def _without_kernel(name: str) -> Cell:
    """The same cell as a class of somebody else's, for which there is no kernel."""
    cell: Any = CELLS[name]  # a dataclass
    kind = type(cell)
    values = {field.name: getattr(cell, field.name) for field in dataclasses.fields(cell)}
    other: Cell = type("Other" + kind.__name__, (kind,), {})(**values)
    return other


def _sru(inputs: int, units: int, options: Mapping[str, Any]) -> nn.Module | None:
    """The SRU of Lei et al. (2018), if it is installed."""
    try:
        sru = importlib.import_module("sru")
    except ImportError:
        return None
    layer: nn.Module = sru.SRU(inputs, units, num_layers=1).to(**options)
    return layer


def median_times(
    steps: Mapping[str, Callable[[], object]], rounds: int, device: str, graphs: bool = False
) -> dict[str, float]:
    """The median time of each step in seconds; the steps take turns.

    Args:
        steps: the steps by name.
        rounds: the number of timings of each.
        device: where they run.
        graphs: record each step as a CUDA graph, and time its replay. Otherwise small steps take
            the time in which the host launches their kernels.
    """
    for step in steps.values():  # the first run chooses, compiles and allocates
        step()
    if graphs:
        with torch.cuda.device(device):
            steps = {name: _graph(step).replay for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    gc.disable()  # a pause would affect only one of the steps
    try:
        for _ in range(rounds):
            for name, step in steps.items():
                wait(device)
                start = time.perf_counter()
                step()
                wait(device)
                seconds[name].append(time.perf_counter() - start)
    finally:
        gc.enable()
    return {name: statistics.median(values) for name, values in seconds.items()}


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


def wait(device: str) -> None:
    """Wait until the device has done all that was launched."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def peak_memory(step: Callable[[], None], device: str = "cpu") -> int:
    """The peak of torch's allocations during `step`, without those from before."""
    if device != "cpu":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler would print a line each time
    kinds = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=kinds, profile_memory=True) as profile:
        step()
    assert profile.profiler is not None
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(accumulate((size for _, size in changes), initial=0))


def draw_growth(path: Path, results: Mapping[str, Sequence[Result]], title: str) -> None:
    """Draw the time of forward and backward over the growing length, batch or width."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # fairseq's level is INFO
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(results), 4), layout="constrained")
    axes = figure.subplots(1, len(results), squeeze=False)[0]
    for axis, (what, sizes) in zip(axes, results.items(), strict=True):
        place = list(results).index(what)
        for name in dict.fromkeys(r.layer for r in sizes):
            ours = [r for r in sizes if r.layer == name]
            x = [r.shape[place] for r in ours]
            axis.plot(x, [1000 * r.both for r in ours], marker="o", label=name)
        for peer, style in (("nn.LSTM", "k--"), ("nn.GRU", "k-."), ("nn.RNN", "k:")):
            times = {r.shape[place]: 1000 * r.peer_both for r in sizes if r.peer == peer}
            if times:
                axis.plot(list(times), list(times.values()), style, label=peer)
        fixed = [f"{n}={v}" for n, v in zip("TBH", sizes[0].shape, strict=True)]
        del fixed[place]
        axis.set(xscale="log", yscale="log", xlabel=f"{what} ({', '.join(fixed)})")
        axis.set_xticks(*[sorted({r.shape[place] for r in sizes})] * 2)  # the sizes themselves
        axis.minorticks_off()
        axis.set_ylabel("forward + backward, ms")
        axis.legend(fontsize="small")
    figure.suptitle(title, fontsize="small")
    report.save_figure(path, figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, with `arguments` or those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    report.add_measurement(parser, list(CELLS), SHAPES)
    add = parser.add_argument
    add(
        "--backend", choices=recurrence.choices(), default="auto", help="our backend (default auto)"
    )
    add("--masks", action="store_true", help="also compare each layer with and without a mask")
    help = "also compare each gated sum with itself on the scan"
    add("--scans", action="store_true", help=help)
    help = "time CUDA graphs, without the time in which the host launches kernels"
    add("--graphs", action="store_true", help=help)
    add("--inputs", type=report.positive, metavar="N", help="input features (default H)")
    help = "draw how the time grows with each size (.svg, .png, .pdf)"
    add("--growth", type=report.output_file, metavar="FILE", help=help)
    args = parser.parse_args(arguments)
    options = dict(dtype=args.dtype, device=args.device, backend=args.backend, rounds=args.rounds)
    options |= dict(inputs=args.inputs, graphs=args.graphs)
    report.check_device(args.device)
    if args.graphs and args.device == "cpu":
        raise ValueError("--graphs is for --device cuda")
    if args.growth:
        report.check_can_draw("--growth", args.growth)
    title = f"{args.dtype}, backend {args.backend}, medians of {args.rounds}; "
    title += report.machine(args.device)
    if args.device != "cpu":  # ours have all bits
        torch.backends.cudnn.allow_tf32 = False
        title += "; without TF32"
    if args.graphs:
        title += "; CUDA graphs"
    print(title, flush=True)
    results: list[Result] = []
    for shape in args.shapes:
        found = compare(shape, args.cells, masks=args.masks, scans=args.scans, **options)
        report.print_rows([result.row() for result in found], header=not results)
        results += found
    growth = {}
    if args.growth:
        growth = {
            what: [r for shape in shapes for r in compare(shape, args.cells, **options)]
            for what, shapes in GROWTH.items()
        }
    if args.json:
        as_dicts = {k: [dataclasses.asdict(r) for r in v] for k, v in growth.items()}
        record = {"title": title, "results": [dataclasses.asdict(r) for r in results]}
        report.write_json(args.json, {**record, "growth": as_dicts})
    if args.growth:
        draw_growth(args.growth, growth, title)


if __name__ == "__main__":
    report.end_with_errors(main)
