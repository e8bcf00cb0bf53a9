"""One of fairseq's commands in a process of its own, as a benchmark wants it.

    python child.py [--onednn] [--profile FILE] MODULE ARGUMENTS

It imports nothing of this package. `--user-dir`, which all systems get, does, and applies the shims
that fairseq needs; but memory is kept only where a model of this package is built.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import runpy
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

SKIPPED = 2  # updates, or batches: caches and memory are warm then
PROFILED = 8  # at most of them; a profile takes much memory and time


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--onednn", action="store_true", help="all products by oneDNN")
    parser.add_argument("--profile", type=Path, help="write the time of every operation there")
    parser.add_argument("module")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if args.onednn:
        _through_onednn()
    sys.argv = [args.module, *args.rest]
    with _profiled(args.profile) if args.profile else nullcontext():
        runpy.run_module(args.module, run_name="__main__", alter_sys=True)
    # A thread of the data loader may still read ahead, and abort the process while Python ends.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _through_onednn() -> None:
    torch.set_float32_matmul_precision("medium")
    if not onednn_is_exact():
        sys.exit("on this processor oneDNN computes in 16 bits: leave out --onednn-peer")


def onednn_is_exact() -> bool:
    """Whether products have 32 bits with "medium", with which torch takes oneDNN for them."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    a = torch.rand(512, 512)
    exact = a.double() @ a.double()
    error = ((a @ a - exact).abs().max() / exact.abs().max()).item()
    torch.set_float32_matmul_precision(before)
    return error < 1e-5


@contextmanager
def _profiled(path: Path) -> Iterator[None]:
    """Write how long a step took, and each operation by the shapes of its inputs, in seconds."""
    from fairseq.tasks import FairseqTask
    from fairseq.trainer import Trainer

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would print lines
    kinds = [torch.profiler.ProfilerActivity.CPU]
    profiler = torch.profiler.profile(activities=kinds, record_shapes=True)
    starts: list[float] = []  # of each step, while they are counted

    def begin_step() -> None:
        if len(starts) <= SKIPPED + PROFILED:
            if len(starts) == SKIPPED:
                profiler.start()
            starts.append(time.perf_counter())
            if len(starts) > SKIPPED + PROFILED:
                profiler.stop()

    def count(owner: Any, name: str) -> None:
        step = getattr(owner, name)

        @functools.wraps(step)
        def counted(*args: Any, **kwargs: Any) -> Any:
            begin_step()
            return step(*args, **kwargs)

        setattr(owner, name, counted)

    count(Trainer, "train_step")
    count(FairseqTask, "inference_step")
    yield
    begin_step()  # there is no other
    steps = len(starts) - 1 - SKIPPED
    if steps <= 0:
        sys.exit(f"a profile needs more than {SKIPPED} updates or batches")
    if steps < PROFILED:
        profiler.stop()
    events = profiler.key_averages(group_by_input_shape=True)
    operations = [(e.key, e.input_shapes, 1e-6 * e.self_cpu_time_total / steps) for e in events]
    seconds = (starts[-1] - starts[SKIPPED]) / steps
    path.write_text(json.dumps({"step": seconds, "operations": operations}))


if __name__ == "__main__":
    main()
