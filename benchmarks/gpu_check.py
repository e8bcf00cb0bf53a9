"""`scripts/gpu_check.sh`: check and measure this package on a GPU: tests, speed, commands."""

from __future__ import annotations

import argparse
import glob
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
DESCRIPTION = """\
Check and measure this package on the GPU of this machine:

  info        fairseq-wsum info
  layers      whole layers against float64
  triton      the Triton kernels against float64
  speed       in fp32 and bf16: layers against torch's own, also as CUDA graphs, which leave out the
              host's time; kernels against the bandwidth of a copy
  commands    train, resume, translate and score small models in fp32, fp16, bf16 and amp

It needs torch, pytest for the tests, and Triton or fairseq for those of them that are skipped
otherwise. A failure does not stop the other parts, and the exit status is then 1."""
EPILOG = """\
Files in DIR: summary.txt, the output of each command, and *.xml, the results of tests in JUnit's
form. Further options are given to pytest.

PYTHON=... sets the interpreter (default: that of VENV, or of the clone's .venv, else python3).

examples:
  scripts/gpu_check.sh
  scripts/gpu_check.sh --parts layers,triton -n 4    # with pytest-xdist: four processes
  scripts/gpu_check.sh --device cpu --out runs/gpu-check-trial"""
PARTS = ("info", "layers", "triton", "speed", "commands")


def main() -> None:
    """Run the parts, and print a line for each of their commands."""
    args, of_pytest = parse()
    args.out.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
    results = []
    for part in args.parts:
        for name, command in commands(part, args.device, args.out.resolve(), of_pytest).items():
            line = f"{name}: {run(command, args.out / f'{name}.txt', args)}"
            results.append(line)
            print(line, flush=True)
            (args.out / "summary.txt").write_text("".join(f"{line}\n" for line in results))
    sys.exit(any(": passed" not in line for line in results))


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="scripts/gpu_check.sh",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    help = "the parts to run, separated by commas (default: all)"
    add("--parts", type=lambda text: text.split(","), default=PARTS, metavar="LIST", help=help)
    help = "folder for the results, which must not exist (default runs/gpu-check)"
    add("--out", type=Path, default=ROOT / "runs/gpu-check", metavar="DIR", help=help)
    help = "time limit of each command (default 900); pytest then reports the tests so far"
    add("--limit", type=int, default=900, metavar="SECONDS", help=help)
    help = "cuda (default), or cpu to try the script without a GPU"
    add("--device", choices=("cuda", "cpu"), default="cuda", help=help)
    args, of_pytest = parser.parse_known_args()
    if wrong := [part for part in args.parts if part not in PARTS]:
        parser.error(f"--parts {wrong[0]}: choose from {', '.join(PARTS)}")
    if args.out.exists():
        parser.error(f"--out {args.out} exists; give a new folder")
    if args.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            parser.error("torch sees no GPU here; --device cpu tries the script without one")
    return args, of_pytest


def commands(part: str, device: str, out: Path, of_pytest: list[str]) -> dict[str, list[str]]:
    """The commands of a part, by name."""

    def tests(*files: str) -> dict[str, list[str]]:
        report = ["-v", "-p", "no:cacheprovider", "--junitxml", f"{out / part}.xml"]
        return {part: [sys.executable, "-m", "pytest", *report, *files, *of_pytest]}

    match part:
        case "info":
            return {"info": [sys.executable, "-m", "fairseq_wsum.cli", "info"]}
        case "layers":
            return tests("tests/test_gpu.py")
        case "triton":
            return tests(*sorted(glob.glob("tests/test_triton*.py", root_dir=ROOT)))
        case "commands":
            return tests("tests/test_gpu_commands.py")
    found = {}
    for dtype in ("fp32", "bf16"):
        where = ["--device", device, "--dtype", dtype]
        found[f"layers-{dtype}"] = [sys.executable, "benchmarks/layers.py", *where]
        if device == "cuda":
            found[f"graphs-{dtype}"] = [*found[f"layers-{dtype}"], "--graphs"]
        found[f"bandwidth-{dtype}"] = [sys.executable, "benchmarks/bandwidth.py", *where]
    return found


def run(command: list[str], output: Path, args: argparse.Namespace) -> str:
    """Run a command in the time limit, after which it is interrupted, and describe the result."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {"FAIRSEQ_WSUM_TEST_DEVICE": args.device, "PYTHONPATH": path}
    begun = time.monotonic()
    with output.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            status = process.wait(args.limit)
            result = "passed" if status == 0 else f"failed with status {status}"
        except subprocess.TimeoutExpired:
            result = f"stopped after {args.limit} s"
            process.send_signal(signal.SIGINT)  # at which pytest reports
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
        finally:
            process.kill()
    last = output.read_text(errors="replace").rstrip().rpartition("\n")[2]
    return f"{result}, {time.monotonic() - begun:.0f} s: {last}"


if __name__ == "__main__":
    main()
