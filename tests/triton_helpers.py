"""What the tests of the Triton kernels share.

The kernels run in Triton's interpreter or, where there is one, on a GPU. The interpreter has to be
switched on before triton is imported, so the tests marked `inside` run in a process of their own.
"""

import importlib
import importlib.util
import os
import subprocess
import sys
from functools import partial

import pytest
import torch

from fairseq_wsum.recurrence import operators

INTERPRETS = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)
inside = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or (not INTERPRETS and DEVICE == "cpu"),
    reason="needs triton, and is run by run_in_interpreter where there is no GPU",
)
outside = pytest.mark.skipif(
    INTERPRETS or DEVICE != "cpu", reason="the others run by themselves here"
)

# reverse, and where the padding is
WAYS = {
    "forward": (False, None),
    "padded-left": (False, "left"),
    "reverse": (True, None),
    "reverse-padded-right": (True, "right"),
    "holes": (False, "holes"),
}
# T, B, H and the plan: steps at a time, units of a program, chunks
CASES = {
    "one-of-each": (1, 1, 1, (1, 1, 1)),
    "odd": (7, 3, 5, (4, 8, 1)),
    "many-units": (5, 2, 33, (2, 16, 1)),
    "fewer-steps-than-at-a-time": (3, 2, 5, (16, 8, 1)),
    "chunks": (8, 2, 5, (2, 8, 3)),
    "chunks-of-uneven-length": (9, 1, 3, (4, 4, 2)),
    "more-chunks-than-needed": (5, 2, 3, (2, 4, 4)),
}
# Largest difference from float64, over the largest number or 1; in bf16 what is stored is rounded.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 0.01, torch.float16: 2e-3}


def tolerance(dtype, size):
    """For pre-activations of this size, whose last bits count the more the larger they are."""
    return TOLERANCE[dtype] if size == 1 else 2e-5


def run_in_interpreter(path) -> None:
    """Run a file of tests in Triton's interpreter."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-6000:]


def operator_of(name, how=None):
    """An operator and its backward pass with these kernels, under a plan or a tiling."""
    kernels = importlib.import_module(f"fairseq_wsum.recurrence.triton.{name}")
    launch = partial(kernels.launch, **{"plan" if name == "memory_cell" else "tiling": how})
    return [partial(getattr(operators, name + way), launch) for way in ("", "_backward")]


def on_device(*tensors):
    """The tensors on the device of the kernels; None stays None."""
    return [None if tensor is None else tensor.to(DEVICE) for tensor in tensors]
