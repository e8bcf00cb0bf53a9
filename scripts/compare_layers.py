"""Time every ablation against the plain LSTM, forward and backward, on one backend.

The two are taken in turn, so that a change in the machine's speed hits both; what counts is the
ratio of their medians.

    python scripts/compare_layers.py --backend reference
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date

import torch

from fairseq_wsum import ABLATIONS, WsumLSTM
from fairseq_wsum.backends import BACKEND_CHOICES


def training_step(layer: WsumLSTM, x: torch.Tensor) -> Callable[[], None]:
    """A function that runs `layer` forward and backward."""

    def step() -> None:
        layer.zero_grad()
        layer(x)[0].sum().backward()

    return step


def seconds(step: Callable[[], None], device: str) -> float:
    """How long `step` takes, once."""
    start = time.perf_counter()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def processor() -> str:
    """The name of the CPU, as far as the system tells."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", default="auto", choices=BACKEND_CHOICES)
    parser.add_argument("--shape", default="13,64,500", help="time steps, sequences, units")
    parser.add_argument("--rounds", type=int, default=15, help="timings of each")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    steps, batch, units = (int(n) for n in args.shape.split(","))

    x = torch.randn(steps, batch, units, device=args.device, requires_grad=True)
    print(
        f"forward and backward, T={steps} B={batch} H={units}, backend {args.backend}, "
        f"{args.device}, {processor()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, {date.today()}"
    )
    print(f"{'ablation':20} {'ms':>8} {'lstm ms':>8} {'faster':>7}  (medians of {args.rounds})")
    for name in ABLATIONS:
        pair = [
            training_step(
                WsumLSTM(units, units, ablation=a, backend=args.backend, device=args.device), x
            )
            for a in (name, "lstm")
        ]
        for step in pair:  # warm up
            seconds(step, args.device)
        times = [[seconds(step, args.device) for step in pair] for _ in range(args.rounds)]
        ours, lstm = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:20} {ours:8.1f} {lstm:8.1f} {lstm / ours:6.2f}x")


if __name__ == "__main__":
    main()
