"""What every benchmark prints: the machine, a table, and the same as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import torch


def machine(device: str = "cpu") -> str:
    """The hardware and software of a measurement, in one line."""
    parts = [f"{processor()}, {torch.get_num_threads()} threads"]
    if device != "cpu":
        parts.insert(0, torch.cuda.get_device_name(device))
    return f"{', '.join(parts)}, torch {torch.__version__}, {date.today()}"


def processor() -> str:
    """The name of the CPU, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows with the same keys, as a Markdown table."""
    header = list(rows[0])
    lines = [header, ["---"] * len(header), *([row[key] for key in header] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_json(path: Path, record: Mapping[str, object]) -> None:
    """Write a record, complete or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
