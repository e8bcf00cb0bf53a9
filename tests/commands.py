"""Running the real commands, each in a process of its own."""

import logging
import multiprocessing
import os
import shlex
import subprocess
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
USER_DIR = ROOT / "fairseq_wsum"
BIN = Path(sys.executable).parent

# A new Python takes longer to import torch and fairseq than most commands here take for their work.
# So commands of Python packages are forked from a process that has imported these two, and no more.
# (How a command starts cold, and what Python does when it ends, the tests of the scripts show.)
_forkserver = multiprocessing.get_context("forkserver")
_forkserver.set_forkserver_preload(["torch", "fairseq"])


def run(command: object, *options: object, stdin: str = "", check: bool = True) -> str:
    """Run a command, of the environment if it is there, from a folder that is not the clone."""
    words = [str(command), *(str(option) for option in options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "VENV": sys.prefix}
    of_python = entry_points(group="console_scripts", name=words[0])
    code, output = (_fork if of_python else _start)(words, environment, stdin)
    assert (code == 0) == check, output[-4000:]
    return output


def train(data: object, save_dir: object, *options: object, check: bool = True) -> str:
    """The command of scripts/train.sh for one process on the CPU, without the start of a Python."""
    script = [ROOT / "scripts" / "train.sh", data, "--save-dir", save_dir, "--gpus", 0, *options]
    environment = {**os.environ, "VENV": sys.prefix}
    command = [*map(str, script), "--dry-run"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return run(*shlex.split(shown.stdout), check=check)


def _start(words: list[str], environment: dict[str, str], stdin: str) -> tuple[int, str]:
    path = BIN / words[0]
    command = [str(path) if path.exists() else words[0], *words[1:]]
    options = dict(input=stdin, capture_output=True, text=True)
    done = subprocess.run(command, cwd="/", env=environment, **options)
    return done.returncode, done.stdout + done.stderr


def _fork(words: list[str], environment: dict[str, str], stdin: str) -> tuple[int, str]:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
        for file, text in zip(files, (stdin, "", ""), strict=True):
            file.write_text(text)
        process = _forkserver.Process(target=_become, args=(words, environment, files))
        process.start()
        process.join()
        return process.exitcode, files[1].read_text() + files[2].read_text()


def _become(words: list[str], environment: dict[str, str], files: list[Path]) -> None:
    """Be the command from now on, with its input and output in files."""
    for descriptor, file in enumerate(files):
        os.dup2(os.open(file, os.O_RDWR), descriptor)
    sys.stdin = os.fdopen(0, closefd=False)  # multiprocessing has closed the one that was
    multiprocessing.set_start_method(
        None, force=True
    )  # as it was, for workers of the command's own
    os.environ.clear()
    os.environ.update(environment)
    os.chdir("/")
    torch.set_num_threads(1)
    logging.getLogger().handlers.clear()  # importing fairseq made one; commands make their own
    sys.argv = words
    (command,) = entry_points(group="console_scripts", name=words[0])
    sys.exit(command.load()())
