"""`scripts/train.sh`: its options, the processes that it starts, and what it refuses."""

import fcntl
import os
import select
import shlex
import subprocess

import pytest
import torch
from commands import needs_fairseq
from shell import (
    FOREIGN,
    PYTHON,
    SCRIPTS,
    completed,
    environment,
    fails,
    refuses,
    succeeds,
    write_programs,
)

from fairseq_wsum.experiments import train
from fairseq_wsum.experiments.locks import hold
from fairseq_wsum.experiments.program import UserError


@pytest.fixture
def start(monkeypatch, capsys):
    """Call the program in this process; fairseq-train itself is not started."""
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "")

    def call(*options, gpus=0, **variables):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(os, "execvp", lambda program, words: print(shlex.join(words)))
        monkeypatch.setattr(train.signal, "signal", lambda *_: None)
        held = []
        with monkeypatch.context() as patch:
            patch.setattr(train, "hold", lambda *args: held.append(hold(*args)))
            for name, value in variables.items():
                patch.setenv(name, value)
            try:
                train.main([*map(str, options)])
            finally:
                for lock in held:  # as the program that takes the place of this one does at its end
                    lock.close()
        return capsys.readouterr().out.strip()

    return call


@pytest.fixture
def dry_run(start):
    return lambda *options, **variables: start(
        "/my data", "--dry-run", "--save-dir", "runs/a b", *options, **variables
    )


# The command


def test_every_option_reaches_fairseq_unchanged(dry_run):
    command = dry_run("--arch", "wsum_lstm", "--user-dir", "/usr", "--notes", "it's two words")
    assert command.startswith("fairseq-train '/my data' --save-dir 'runs/a b' --user-dir /usr ")
    assert shlex.split(command)[-4:] == ["--arch", "wsum_lstm", "--notes", "it's two words"]
    assert "--required-batch-size-multiple 1" in command
    assert "--task" not in command and "distributed" not in command  # fairseq's defaults


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--gpus", "4"], "--distributed-world-size 4"),
        (["--gpus", "0"], "--cpu --distributed-world-size 1"),
        (["--cpu"], "--cpu --distributed-world-size 1"),
        (["--cpu-processes", "1"], "--cpu --distributed-world-size 1"),
        (["--precision", "bf16"], "--bf16"),
        (["--gpus", "1", "--precision", "amp"], "--amp"),
        (["--required-batch-size-multiple", "8"], "--required-batch-size-multiple 8"),
        (["--finetune-from-model=a.pt"], "--finetune-from-model a.pt"),
    ],
    ids=" ".join,
)
def test_our_options_are_translated_to_fairseqs(options, expected, dry_run):
    assert f" {expected} " in f"{dry_run(*options)} "


def test_under_torchrun_each_process_gets_rank_and_world_size(dry_run):
    rank = {"RANK": "9", "LOCAL_RANK": "1", "WORLD_SIZE": "16", "MASTER_ADDR": "first"}
    common = "--distributed-world-size 16 --distributed-rank 9 --distributed-init-method env:// "
    common += "--distributed-no-spawn "
    assert common + "--device-id 1" in dry_run(**rank)
    assert common + "--cpu --distributed-backend gloo" in dry_run("--gpus", "0", **rank)


def test_processes_on_the_cpu_share_the_cores(start, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "cpu_count", lambda: 8)
    options = [tmp_path, "--save-dir", tmp_path / "run", "--arch", "x", "--cpu-processes", "2"]
    words = shlex.split(start(*options, "--bf16"))
    assert os.environ["OMP_NUM_THREADS"] == "4"
    assert words[2:6] == ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
    assert words[-3:] == ["--arch", "x", "--bf16"]
    start(*options, OMP_NUM_THREADS="3")
    again = words[words.index("--no-python") + 1 :]
    rank = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a"}
    assert again[3] == train.AGAIN
    assert "--distributed-rank 1" in start(*again[4:], **rank)
    assert not (tmp_path / "run/.train.lock").exists()  # the process of rank 0 holds it
    start(*again[4:], **rank | {"RANK": "0"})
    assert (tmp_path / "run/.train.lock").exists()


@pytest.mark.parametrize(
    ("options", "end"),
    [([], "--notes x"), (["--gpus", "2"], "--distributed-world-size 2 --notes x")],
)
def test_one_task_of_slurm_starts_a_process_for_each_gpu_itself(options, end, monkeypatch):
    """fairseq would take the number from the job, which may have more GPUs, or wait for tasks."""
    slurm = {"SLURM_JOB_NODELIST": "a[1-2]", "SLURM_STEP_NODELIST": "a1"}
    torchrun = {"MASTER_ADDR": "a", "MASTER_PORT": "1", "RANK": "0", "WORLD_SIZE": "1"}
    for variables in (slurm, torchrun):  # torchrun's may be set for a single process
        for name, value in ({"SLURM_JOB_ID": "7"} | variables).items():
            monkeypatch.setenv(name, value)
        args, rest = train.read_options(["data", "--save-dir", "x", *options, "--notes", "x"])
        assert shlex.join(train.command(args, rest)[0]).endswith(end)
        assert not variables.keys() & os.environ.keys()
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        args, rest = train.read_options(["data", "--save-dir", "x", "--gpus", "0"])
        assert train.command(args, rest)[0][0] == "fairseq-train"


TORCHRUN = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "a"}
RUN = "{out} --arch x --save-dir {out}/run"
MISTAKES = [
    (f"{RUN} --gpus 2 --cpu-processes 2", {}, "--cpu-processes 2 exclude each other"),
    (f"{RUN} --gpus -1", {}, "--gpus -1: give a positive whole number, or 0 for the CPU"),
    (f"{RUN} --gpus 99", {}, "--gpus 99: torch sees 0 here"),
    (f"{RUN} --user-dir y", {}, "--user-dir y: no such folder"),
    (f"{RUN} --precision amp", {}, "--precision amp needs a GPU; on the CPU use bf16 or fp32"),
    (f"{RUN} --precision fp16 --gpus 0", {}, "--precision fp16 needs a GPU"),
    (f"{RUN} --fp16", {}, "--precision fp16 needs a GPU"),
    (f"{RUN} --cpu-processes 2", TORCHRUN, "--cpu-processes: torchrun sets the number"),
    (f"{RUN} --gpus 2", TORCHRUN, "--gpus: torchrun sets the number of processes; omit"),
    (RUN, {"SLURM_STEP_NUM_TASKS": "2"}, "srun: let it start torchrun, once on each node"),
    ("{out} --arch x", {}, "the following arguments are required: --save-dir"),
    ("--arch x --save-dir {out}", {}, "no data: give the folder first"),
    ("/no/data --arch x --save-dir {out}", {}, "no data folder /no/data"),
    ("{out} --save-dir {out}", {}, "no --arch: name a model"),
    ("{out}:/no/more --arch x --save-dir {out}", {}, "no data folder /no/more"),
    ("{out}: --arch x --save-dir {out}", {}, "no data folder  (a ':' ends a path)"),
    ("{out} --save-dir=", {}, "argument --save-dir: the name of the folder is empty"),
]


@pytest.mark.parametrize(("words", "variables", "message"), MISTAKES)
def test_mistakes_are_named_before_anything_is_made(
    words, variables, message, start, tmp_path, capsys
):
    words = words.format(out=tmp_path).split()
    assert message in refuses(lambda given: start(*given, **variables), capsys, *words)
    assert not list(tmp_path.iterdir())


def test_bf16_is_refused_on_a_processor_where_it_is_slow(start, tmp_path, monkeypatch):
    words = [tmp_path, "--arch", "x", "--save-dir", tmp_path / "run", "--precision", "bf16"]
    monkeypatch.setattr(train, "has_fast_bfloat16", lambda: False)
    with pytest.raises(UserError, match="this processor has no instructions for it; use fp32"):
        start(*words)
    monkeypatch.setattr(train, "has_fast_bfloat16", lambda: True)
    assert "--bf16" in start(*words)


# Folders


def test_another_file_to_restore_does_not_overwrite_a_training(start, tmp_path):
    for name in ("base", "run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoint_last.pt").touch()
    words = [tmp_path, "--arch", "wsum_lstm", "--save-dir", tmp_path / "run", "--gpus", 0]
    base = f"--restore-file={tmp_path}/base/checkpoint_last.pt"
    for options in ([base], [base, "--reset-optimizer"]):
        with pytest.raises(UserError, match=f"{tmp_path}/run has checkpoints, which"):
            start(*words, *options)
    last = tmp_path / "run" / "checkpoint_last.pt"
    for own in ("checkpoint_last.pt", last):
        assert f"--restore-file {own}" in start(*words, "--restore-file", own)
    for options in (["--reset-dataloader"], ["--restore-file", last, "--reset-optimizer"]):
        with pytest.raises(UserError, match=f"{options[-1]}: {tmp_path}/run has checkpoints"):
            start(*words, *options)  # every restart would reset it again
    start(*words, "--reset-logging")  # resets no training
    best = last.rename(tmp_path / "run" / "checkpoint_best.pt")
    with pytest.raises(UserError, match=f"--finetune-from-model {best} is in --save-dir"):
        start(*words, "--finetune-from-model", best)
    for own in ("checkpoint_last.pt", last):
        with pytest.raises(UserError, match=r"has no intact checkpoint to continue from"):
            start(*words, "--restore-file", own)  # the other one is damaged


def test_every_folder_of_the_data_has_the_same_dictionaries(start, tmp_path):
    first, more = tmp_path / "first", tmp_path / "more"
    for folder in (first, more):
        folder.mkdir()
        (folder / "dict.en.txt").write_text("a 2\nb 1\n")
    words = [f"{first}:{more}", "--arch", "wsum_lstm", "--save-dir", tmp_path / "run", "--gpus", 0]
    start(*words)
    (more / "dict.en.txt").write_text("b 2\na 1\n")
    with pytest.raises(UserError, match=f"dict.en.txt differs from that of {first}: prepare the"):
        start(*words)


# The process


DOCUMENTED = {  # in docs/environment.md
    "OMP_WAIT_POLICY": "passive",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
}


@pytest.mark.parametrize("given", [(), DOCUMENTED], ids=["ours", "theirs"])
def test_a_training_gets_the_documented_variables_and_a_lock(given, tmp_path):
    run = tmp_path / "run"
    program = f"env; flock -n '{run}/.train.lock' true && echo unlocked"
    write_programs(tmp_path / "venv", {"python": PYTHON, "fairseq-train": program + "; true"})
    options = ["--arch", "wsum_lstm", "--save-dir", run, "--gpus", 0]
    theirs = dict.fromkeys(given, "5")
    printed = succeeds("train.sh", tmp_path, *options, VENV=str(tmp_path / "venv"), **theirs)
    expected = {f"{name}={value}" for name, value in (DOCUMENTED | theirs).items()}
    assert expected | {"CUDA_VISIBLE_DEVICES="} <= set(printed.splitlines())  # no GPU
    assert "unlocked" not in printed


def test_an_environment_with_an_old_python_is_named(tmp_path):
    old = '[ "$1" = --version ] && echo Python 3.10.4'
    write_programs(tmp_path / "venv", {"python": old, "fairseq-train": "exit 9"})
    options = ["--arch", "lstm", "--save-dir", tmp_path / "run"]
    message = fails("train.sh", tmp_path, *options, VENV=str(tmp_path / "venv"))
    assert "python is Python 3.10.4; this project needs Python 3.11 or later" in message


@needs_fairseq
def test_processes_for_gpus_can_be_interrupted_in_the_background(tmp_path):
    """They end with the first process by SIGINT, which a background job of a script ignores."""
    show = 'exec python -c "import signal; print(signal.getsignal(signal.SIGINT))"'
    write_programs(tmp_path, {"fairseq-train": show, "python": PYTHON})
    options = ["--save-dir", tmp_path / "run", "--arch", "wsum_lstm"]
    words = shlex.join(map(str, [SCRIPTS / "train.sh", tmp_path, *options]))
    job = completed("bash", "-c", f"{words} & wait", VENV=str(tmp_path))
    assert "default_int_handler" in job.stdout, job.stderr


@needs_fairseq
def test_a_training_waits_for_the_previous_one_to_end(tmp_path):
    """The data workers of a killed training hold the lock for some seconds."""
    command = [SCRIPTS / "train.sh", tmp_path, "--save-dir", tmp_path, "--gpus", "0"]
    command += ["--arch", "wsum_lstm", "--help-me"]
    with (tmp_path / ".train.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        training = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
        assert select.select([training.stderr], [], [], 60)[0]
        first = training.stderr.readline()
    message = first + training.communicate()[1]
    assert f"waiting for another run in {tmp_path} to end" in first
    assert "another run is writing" not in message and "unrecognized arguments" in message
    assert (tmp_path / ".train.lock").read_text().startswith("process ")
