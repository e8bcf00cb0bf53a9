"""The hardware and software of this machine, to go with a measurement."""

from __future__ import annotations

import os
import platform
from datetime import date

import torch


def machine(device: str = "cpu") -> str:
    """The hardware and software of this machine in one line, to go with a measurement."""
    parts = [f"{processor()}, {torch.get_num_threads()} threads"]
    if device != "cpu":
        parts.insert(0, torch.cuda.get_device_name(device))
    return f"{', '.join(parts)}, torch {torch.__version__}, {date.today()}"


def processor() -> str:
    """The name of the CPU as the operating system reports it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
