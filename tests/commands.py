"""Running the real fairseq commands, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
USER_DIR = ROOT / "fairseq_wsum"
BIN = Path(sys.executable).parent


def run(command: object, *options: object, stdin: str | None = None, check: bool = True) -> str:
    """Run a command, of the environment if it is there, from a folder that is not the clone."""
    path = BIN / str(command)
    words = [str(path if path.exists() else command), *(str(option) for option in options)]
    result = subprocess.run(
        words,
        input=stdin,
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "OMP_NUM_THREADS": "1", "VENV": sys.prefix},
    )
    output = result.stdout + result.stderr
    assert (result.returncode == 0) == check, output[-4000:]
    return output
