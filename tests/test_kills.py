"""Trainings killed with -9 at random moments and at every stage of a save."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fairseq")
from commands import ROOT, run, train
from shell import SCRIPTS, environment, own_variables
from test_damaged_checkpoints import assert_same_weights
from text_corpora import made_up
from translation_corpus import TINY

from fairseq_wsum.experiments.checkpoints import restore_last

pytestmark = pytest.mark.slow

KILLS = 8  # of each training; there are four
OF_EACH_STAGE = 2  # of all saves of a training; there are two trainings
LONGEST = 120  # seconds; measured: 15 for a training of one process

TRANSLATION = [*TINY.replace("--batch-size 30", "--batch-size 3").split(), "--dropout", "0.4"]
LANGUAGE_MODEL = [
    *("--task", "wsum_language_modeling", "--arch", "wsum_lstm_lm", "--decoder-embed-dim", "8"),
    *("--dropout", "0.3", "--optimizer", "adam", "--lr", "0.01", "--batch-size", "2"),
    *("--tokens-per-sample", "5", "--log-format", "simple"),
]
# Saved at the end of each epoch and twice within it, as best, last and under its own name.
SAVING = ["--max-epoch", "3", "--save-interval-updates", "7", "--log-interval", "1"]
MODELS = {"translation": TRANSLATION, "language-model": LANGUAGE_MODEL}


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for split, lines in (("train", 30), ("valid", 5), ("test", 5)):
        (folder / split).write_bytes(made_up(lines, seed=lines))
    prefixes = [f"--{split}pref={folder / split}" for split in ("train", "valid", "test")]
    run("fairseq-preprocess", "--only-source", "--destdir", folder / "data", *prefixes)
    return folder / "data"


@pytest.fixture(params=MODELS)
def problem(request, prepared, text) -> tuple[Path, list[str]]:
    """The data and the options of a training."""
    data = prepared if request.param == "translation" else text
    return data, MODELS[request.param] + SAVING


class Training:
    """Start scripts/train.sh in its own session, with its log in a file."""

    def __init__(self, data: Path, folder: Path, options: list[str], processes: int) -> None:
        self.log = folder.with_name(f"{folder.name}.log")
        where = ["--gpus", "0"] if processes == 1 else ["--cpu-processes", str(processes)]
        command = [SCRIPTS / "train.sh", data, "--save-dir", folder, *where, *options]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                env={**own_variables(), "VENV": sys.prefix, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def begins(self) -> bool:
        """Wait until the training runs; return False if nothing is left to train."""
        deadline = time.monotonic() + LONGEST
        while "Start iterating over samples" not in self.log.read_text():
            if self.process.poll() is not None:
                assert self.process.returncode == 0, self.end()
                return False
            assert time.monotonic() < deadline, self.end()
            time.sleep(0.01)
        return True

    def end(self) -> str:
        """The end of the log."""
        return self.log.read_text()[-4000:]

    def seconds(self) -> float:
        """The duration of a training after its start."""
        assert self.process.wait(LONGEST) == 0, self.end()
        (seconds,) = re.findall(r"done training in ([\d.]+) seconds", self.log.read_text())
        return float(seconds)

    def kill(self) -> None:
        """All of its processes; torchrun gives each of its own a session."""
        folder = str(self.log.with_suffix("")).encode()
        for _ in range(100):
            found = [pid for pid in _pids() if pid != os.getpid() and folder in _command(pid)]
            if not found:
                break
            for pid in found:
                _end(pid)
            time.sleep(0.02)
        self.process.wait(LONGEST)


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _command(pid: int) -> bytes:
    """The command line of a process; empty after it has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return b"" if state == "Z" else Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_training_killed_at_random_moments_equals_an_uninterrupted_one(
    processes, problem, tmp_path
) -> None:
    data, options = problem
    draw = random.Random(processes)
    seconds = Training(data, tmp_path / "whole", options, processes).seconds()
    kills = trainings = 0
    while kills < KILLS:
        folder = tmp_path / f"killed{trainings}"
        training = Training(data, folder, options, processes)
        if training.begins():
            time.sleep(draw.uniform(0, seconds / 2))
            kills += training.process.poll() is None
            training.kill()
        else:
            assert_same_weights(folder, tmp_path / "whole")
            trainings += 1
    Training(data, folder, options, processes).seconds()
    assert_same_weights(folder, tmp_path / "whole")


# Every stage of a save: a program in place of fairseq-train that kills itself at the Nth of them.
DIES = """
import os, signal, shutil, sys
import torch
from fairseq_cli.train import cli_main

at = int(sys.argv.pop(1))
stages = []

def stage(name):
    stages.append(name)
    if len(stages) == at:
        os.kill(os.getpid(), signal.SIGKILL)

def around(module, name):
    call = getattr(module, name)
    def stepped(*args, **kwargs):
        stage("before " + name)
        result = call(*args, **kwargs)
        stage("after " + name)
        return result
    setattr(module, name, stepped)

def half(source, target):
    raw = open(source, "rb").read()
    with open(target, "wb") as file:
        file.write(raw[: len(raw) // 2])
        file.flush()
        stage("within a copy")
        file.write(raw[len(raw) // 2 :])

def save(state, file):
    import io
    buffer = io.BytesIO()
    whole(state, buffer)
    raw = buffer.getvalue()
    file.write(raw[: len(raw) // 2])
    file.flush()
    stage("within a checkpoint")
    file.write(raw[len(raw) // 2 :])

whole, torch.save = torch.save, save
shutil.copyfile = half
for module, name in ((os, "rename"), (os, "fsync"), (os, "remove")):
    around(module, name)
sys.argv[0] = "fairseq-train"
cli_main()
print("stages:", *stages, sep=";")
"""


def test_a_training_killed_at_any_stage_of_a_save_equals_an_uninterrupted_one(
    problem, tmp_path
) -> None:
    data, options = problem
    options = [*options, "--keep-last-epochs", "1", "--keep-interval-updates", "1"]
    program = tmp_path / "dies.py"
    program.write_text(DIES)
    plugin = ["--user-dir", ROOT / "fairseq_wsum", "--cpu", "--required-batch-size-multiple", "1"]
    plugin += ["--update-epoch-batch-itr", "True", "--distributed-world-size", "1"]

    def start(folder: Path, at: int) -> str:
        command = [sys.executable, program, at, data, "--save-dir", folder, *plugin, *options]
        command = list(map(str, command))
        # the runs that continue have its number of threads, on which the bits depend
        done = subprocess.run(command, env=environment(), capture_output=True, text=True)
        assert done.returncode == (0 if at == 0 else -signal.SIGKILL), done.stderr[-2000:]
        return done.stdout

    stages = start(tmp_path / "whole", 0).rpartition("stages:;")[2].strip().split(";")
    needed = {"within a checkpoint", "within a copy", "before fsync", "before rename"}
    assert needed | {"after rename"} < set(stages)
    draw = random.Random(0)
    for at in sorted(
        chosen
        for name in sorted(set(stages))
        for chosen in draw.sample([k for k, n in enumerate(stages, 1) if n == name], OF_EACH_STAGE)
    ):
        folder = tmp_path / f"killed-{at}"
        start(folder, at)
        if list(folder.glob("checkpoint*.pt")):  # as train.sh does first
            restore_last(folder)
        train(data, folder, *options)
        assert_same_weights(folder, tmp_path / "whole")
