"""Print what gpu_check.sh has to know of this machine: one fact a line, with tabs.

head NAME VALUE                      a line of the summary
missing MODULE                       a Python module that is not installed
clone                                this package is not installed; the clone's is used
bandwidth CELLS                      the cells whose memory bandwidth can be measured
cells DTYPE BACKEND REASON CELLS     the cells that a backend runs; the reason if it lacks `lstm`

usage: gpu_facts.py cuda|cpu
"""

import platform
import sys
from importlib.util import find_spec
from pathlib import Path

MODULES = ("fairseq", "pytest", "triton", "xdist")
REPO = Path(__file__).resolve().parents[1]


def fact(*fields: str) -> None:
    print(*fields, sep="\t")


def print_modules() -> None:
    for module in MODULES:
        if find_spec(module) is None:
            fact("missing", module)
    if find_spec("torch") is None:
        sys.exit(f"error: {sys.executable} has no torch; set PYTHON to one that has")
    if find_spec("fairseq_wsum") is None:
        fact("clone")
        sys.path.append(str(REPO))


def print_head(device: str) -> None:
    import torch

    from fairseq_wsum.machine import processor

    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: torch sees no GPU here; --device cpu tries the script without one")
    fact("head", "device", torch.cuda.get_device_name() if device == "cuda" else processor())
    cuda = f", CUDA {torch.version.cuda}" if torch.version.cuda else ""
    fact("head", "torch", torch.__version__ + cuda)
    if find_spec("triton") is None:
        fact("head", "Triton", "not installed")
    else:
        import triton

        fact("head", "Triton", triton.__version__)
    fact("head", "Python", platform.python_version())


def print_cells(device: str) -> None:
    import torch

    from fairseq_wsum import CELLS, cli
    from fairseq_wsum.backends import BACKENDS
    from fairseq_wsum.ops import operators

    # those without kernels of their own run on the scan
    gated = [name for name, cell in CELLS.items() if not cell.has_recurrent_matrix]
    fact("bandwidth", " ".join(n for n in gated if operators.has_kernels(CELLS[n], "cuda")))
    for dtype in ("fp32", "bf16", "fp16"):
        fact("cells", dtype, "auto", "-", " ".join(CELLS))
        for backend in BACKENDS.values():
            why = {
                name: backend.why_not(cell, torch.device(device), cli.DTYPES[dtype], False)
                for name, cell in CELLS.items()
            }
            runs = [name for name, reason in why.items() if reason is None]
            fact("cells", dtype, backend.name, why["lstm"] or "-", " ".join(runs))


if __name__ == "__main__":
    if sys.argv[1:] not in (["cuda"], ["cpu"]):
        sys.exit("usage: gpu_facts.py cuda|cpu")
    print_modules()
    print_head(sys.argv[1])
    print_cells(sys.argv[1])
