"""The hardware and software of this machine, to go with a measurement."""

from __future__ import annotations

import platform
import subprocess
from datetime import date
from pathlib import Path

import torch

from . import __version__


def machine(device: str = "cpu") -> str:
    """The hardware and software of this machine in one line, to go with a measurement."""
    threads = torch.get_num_threads()
    parts = [f"{processor()}, {threads} {'thread' if threads == 1 else 'threads'}"]
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


def version() -> str:
    """The version of this package, with the commit if it runs from a git checkout."""
    here = Path(__file__)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # not a checkout that it is installed in
        return f"{__version__} {git('describe', '--always', '--dirty', '--exclude=*')}"
    except (OSError, subprocess.CalledProcessError):
        return __version__
