"""Trainings killed with -9 at every stage of a save."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fairseq")
from commands import ROOT, assert_same_weights, run, train
from shell import environment
from text_corpora import made_up
from translation_corpus import TINY

from fairseq_wsum.experiments.checkpoints import restore_last

pytestmark = pytest.mark.slow

OF_EACH_STAGE = 2  # of all saves of a training; there are two trainings

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
