"""Run one of fairseq's commands in its own process for a benchmark.

    python child.py [--onednn] [--profile FILE] MODULE ARGUMENTS

This file imports nothing from the package. `--user-dir`, which all systems get, imports it and
applies the shims that fairseq needs.
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

SKIPPED = 2  # updates or batches before the profile, which warm up the caches and the allocator
PROFILED = 8  # the most updates or batches to profile, as a profile takes much memory and time


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--onednn", action="store_true", help="compute all products with oneDNN")
    parser.add_argument("--profile", type=Path, help="write the time of each operation here")
    parser.add_argument("module")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if args.onednn:
        _through_onednn()
    sys.argv = [args.module, *args.rest]
    with _profiled(args.profile) if args.profile else nullcontext():
        runpy.run_module(args.module, run_name="__main__", alter_sys=True)
    # A data loader thread may still be reading ahead and abort the process while Python exits.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _through_onednn() -> None:
    torch.set_float32_matmul_precision("medium")
    if not onednn_is_exact():
        sys.exit("oneDNN computes in 16 bits on this processor: leave out --onednn-peer")


def onednn_is_exact() -> bool:
    """Whether products are computed in 32 bits at "medium", at which torch uses oneDNN for them."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    a = torch.rand(512, 512)
    exact = a.double() @ a.double()
    error = ((a @ a - exact).abs().max() / exact.abs().max()).item()
    torch.set_float32_matmul_precision(before)
    return error < 1e-5


@contextmanager
def _profiled(path: Path) -> Iterator[None]:
    """Write the seconds per step, and those of each operation by the shapes of its inputs."""
    from fairseq.tasks import FairseqTask
    from fairseq.trainer import Trainer

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler prints lines
    kinds = [torch.profiler.ProfilerActivity.CPU]
    profiler = torch.profiler.profile(activities=kinds, record_shapes=True)
    starts: list[float] = []  # the start of each counted step

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
    begin_step()  # ends the last step
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
