"""Compare one layer with torch's own: nn.LSTM, nn.GRU for the GRU's relatives, nn.RNN for no-gates.

Prints the time of the forward pass, the time of forward and backward, and the memory: the peak that
torch allocates during forward and backward, without the scratch space that kernels allocate
themselves.

Shapes are T (time steps), B (sequences), H (units and, without --inputs, input features).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from measure import Shape, add_options, median_times
from torch import Tensor, nn

from fairseq_wsum import CELLS, WsumLSTM, recurrence
from fairseq_wsum.argument_types import positive
from fairseq_wsum.cli import DTYPES, table
from fairseq_wsum.machine import machine

PEERS = {"no-gates": nn.RNN, **dict.fromkeys(("gru", "mingru", "minlstm", "qrnn"), nn.GRU)}
# A translation model on Multi30k, a small and a medium language model, and long sequences.
SHAPES: tuple[Shape, ...] = ((13, 64, 500), (20, 20, 200), (35, 20, 650), (128, 16, 512))


@dataclass
class Subject:
    """A layer and its input."""

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
        y, _ = self.layer(self.x) if self.mask is None else self.layer(self.x, None, self.mask)
        return y


def compare(
    shape: Shape,
    cells: Sequence[str],
    dtype: str = "fp32",
    device: str = "cpu",
    backend: str = "auto",
    rounds: int = 15,
    masks: bool = False,
    inputs: int | None = None,
    graphs: bool = False,
) -> list[dict[str, str]]:
    """Time layers of these cells and their peers, in turn; return the rows of a table.

    The arguments are the options of the command line, for one shape. The peer of a layer with a
    mask, which has random lengths, is the same layer without one.
    """
    steps, batch, units = shape
    options: dict[str, Any] = dict(device=device, dtype=DTYPES[dtype])
    sizes = (units if inputs is None else inputs, units)
    x = torch.randn(steps, batch, sizes[0], **options, requires_grad=True)
    generator = torch.Generator().manual_seed(1)  # the same lengths in every run
    lengths = torch.randint(steps // 2, steps + 1, (batch,), generator=generator)
    mask = (torch.arange(steps).unsqueeze(1) >= lengths).to(device)

    subjects: dict[str, Subject] = {}
    peers: dict[str, str] = {}  # the peer of each layer
    for name in cells:
        kind = PEERS.get(name, nn.LSTM)
        peer = f"nn.{kind.__name__}"
        if peer not in subjects:
            subjects[peer] = Subject(kind(*sizes, **options), x)
        for window in (None, 2) if name == "qrnn" else (None,):
            named = f"{name}, window {window}" if window else name
            layer = WsumLSTM(*sizes, cell=name, window=window, backend=backend, **options)
            subjects[named], peers[named] = Subject(layer, x), peer
            if masks:
                subjects[f"{named}, mask"] = Subject(layer, x, mask)
                peers[f"{named}, mask"] = named

    timed = partial(median_times, rounds=rounds, device=device, graphs=graphs)
    forward = timed({name: s.forward for name, s in subjects.items()})
    both = timed({name: s.both for name, s in subjects.items()})
    memory = {name: peak_memory(s, device) for name, s in subjects.items()}
    return [
        {
            "layer": name,
            "peer": peer,
            "T, B, H": ", ".join(map(str, shape)),
            "forward ms": f"{1000 * forward[name]:.2f}",
            "forward + backward ms": f"{1000 * both[name]:.2f}",
            "times as fast: forward": f"{forward[peer] / forward[name]:.2f}",
            "forward + backward": f"{both[peer] / both[name]:.2f}",
            "memory / peer": f"{memory[name] / memory[peer]:.2f}",
        }
        for name, peer in peers.items()
    ]


def peak_memory(subject: Subject, device: str = "cpu") -> int:
    """The peak of torch's allocations in bytes, without those from before."""
    subject.clear()
    if device != "cpu":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        subject.both()
        return torch.cuda.max_memory_allocated(device) - before
    return peak_on_cpu(subject.both)


def peak_on_cpu(step: Callable[[], object]) -> int:
    """The peak of torch's allocations during `step` in bytes."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler would print a line each time
    kinds = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=kinds, profile_memory=True) as profile:
        step()
    assert profile.profiler is not None
    events = profile.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(accumulate((size for _, size in changes), initial=0))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, with `arguments` or those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, list(CELLS), SHAPES)
    add = parser.add_argument
    add(
        "--backend", choices=recurrence.choices(), default="auto", help="our backend (default auto)"
    )
    add("--masks", action="store_true", help="also compare each layer with and without a mask")
    help = "time CUDA graphs, without the time in which the host launches kernels"
    add("--graphs", action="store_true", help=help)
    add("--inputs", type=positive, metavar="N", help="input features (default H)")
    args = parser.parse_args(arguments)
    title = f"{args.dtype}, backend {args.backend}, medians of {args.rounds}"
    if args.device != "cpu":  # ours have all bits
        torch.backends.cudnn.allow_tf32 = False
        title += ", without TF32"
    print(f"{title}{', CUDA graphs' if args.graphs else ''}; {machine(args.device)}", flush=True)
    options = {**vars(args), "cells": args.cells or list(CELLS)}
    for shape in options.pop("shapes"):
        print(f"\n{table(compare(shape, **options))}", flush=True)


if __name__ == "__main__":
    main()
