"""`fairseq-wsum info`: the backends available on this machine, and which one `auto` selects."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import date

import torch

from . import __version__, backends
from .backends import BACKENDS
from .cells import CELLS
from .ops import kernels, products

DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp64": torch.float64,
}


def info() -> None:
    """Print the versions, the libraries and the table of backends."""
    print(f"fairseq-wsum {__version__}, {machine()}")
    missing = kernels.why_missing()
    print(f"C++ kernels: {missing or kernels.instruction_set()}")
    libraries = ["oneDNN" if products.uses_onednn(p) else "MKL" for p in ("product", "outer")]
    print("products in fp32 on the CPU: {}; gradients of weights: {}".format(*libraries))
    devices = ["cpu", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    cells = ("lstm", "no-srnn-hidden")
    print("\nbackend=auto takes, for `lstm` and `no-srnn-hidden`:\n")
    rows = []
    for device in devices:
        for name, dtype in DTYPES.items():
            row = {"device": device, "type": name}
            reasons: dict[str, None] = {}  # a set that keeps its order
            for cell in cells:
                case = (CELLS[cell], torch.device(device), dtype)
                row[cell] = backends.choose("auto", *case).name
                for backend in BACKENDS.values():
                    why = backend.why_not(*case, False) or backend.only_by_name
                    if why:
                        reasons[f"{backend.name}: {why}"] = None
            row["not"] = "; ".join(reasons) or "-"
            rows.append(row)
    print(table(rows))


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


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Format rows with the same keys as a Markdown table."""
    header = list(rows[0])
    lines = [header, ["---"] * len(header), *([row[key] for key in header] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
