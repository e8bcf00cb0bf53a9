"""The shell scripts, run on a tiny corpus in the environment of this Python."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import ROOT, needs_fairseq
from shell import SCRIPTS, environment, fails, lines, run, succeeds
from translation_corpus import FORMS, TINY

PYTHON = f'exec {shlex.quote(sys.executable)} "$@"'  # a shell script that is this Python
SHARED = {"common.sh", "recipe.sh"}  # sourced by the others
ALL_SCRIPTS = sorted(
    path
    for folder in ("scripts", "examples")
    for path in (ROOT / folder).rglob("*.sh")
    if path.name not in SHARED
)


@pytest.mark.parametrize("script", ALL_SCRIPTS, ids=lambda path: path.name)
def test_every_script_explains_itself(script):
    text = succeeds(script, "--help")
    assert text.startswith("usage: ") and "\nexample" in text
    if script.name.startswith("prepare_"):
        assert "fairseq-train" in text


@pytest.mark.parametrize("script", ["scripts/train.sh", "examples/quickstart/../recipe.sh"])
def test_cdpath_does_not_change_where_the_scripts_are(script, tmp_path):
    # cd prints the folder that it finds through CDPATH, and takes another one of the same name
    for name in ("scripts", "examples/quickstart"):
        (tmp_path / name).mkdir(parents=True)
    command = ["bash", "-c", f"source {script}", script, "--help"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "CDPATH": f"{tmp_path}:."},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def write_programs(folder, programs):
    """Stand-ins for the commands of an environment: a folder `bin` with a shell script for each."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    for name, code in programs.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{code}\n")
        (folder / "bin" / name).chmod(0o755)


# setup.sh


def test_setup_rejects_an_unknown_option():
    assert "--devel" in fails("setup.sh", "--devel")


def test_setup_never_creates_an_environment_in_a_folder_with_other_files(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    assert "VENV" in fails("setup.sh", VENV=str(tmp_path))


# train.sh


def dry_run(*options, **variables):
    done = run("train.sh", "/my data", "--dry-run", "--save-dir", "runs/a b", *options, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_fairseq
def test_every_option_reaches_fairseq_unchanged():
    command = dry_run("--arch", "wsum_lstm", "--user-dir", "/usr", "--notes", "it's two words")
    assert command.startswith(r"fairseq-train /my\ data --save-dir runs/a\ b --user-dir /usr ")
    assert command.endswith(r"--arch wsum_lstm --notes it\'s\ two\ words")
    assert "--required-batch-size-multiple 1" in command
    assert "--task" not in command and "distributed" not in command  # fairseq's defaults


@needs_fairseq
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--gpus", "4"], "--distributed-world-size 4"),
        (["--gpus=4"], "--distributed-world-size 4"),
        (["--gpus", "1"], "--distributed-world-size 1"),
        (["--gpus", "0"], "--cpu --distributed-world-size 1"),
        (["--cpu"], "--cpu --distributed-world-size 1"),
        (["--cpu-processes", "1"], "--cpu --distributed-world-size 1"),
        (["--precision", "bf16"], "--bf16"),
        (["--gpus", "1", "--precision", "amp"], "--amp"),
        (["--required-batch-size-multiple", "8"], "--required-batch-size-multiple 8"),
    ],
    ids=" ".join,
)
def test_our_options_are_translated_to_fairseqs(options, expected):
    assert f" {expected} " in f"{dry_run(*options)} "


@needs_fairseq
@pytest.mark.parametrize("where", [[], ["--gpus", "0"], ["--cpu-processes", "2"]], ids=" ".join)
@pytest.mark.parametrize("precision", ["fp16", "amp"])
def test_fp16_on_cpu_is_rejected(precision, where, tmp_path):
    options = ["--save-dir", tmp_path, "--precision", precision, *where]
    message = fails("train.sh", "data", *options, CUDA_VISIBLE_DEVICES="")
    assert f"--precision {precision} needs a GPU; on the CPU use bf16" in message


@needs_fairseq
def test_under_torchrun_each_process_gets_rank_and_world_size(tmp_path):
    rank = {"RANK": "9", "LOCAL_RANK": "1", "WORLD_SIZE": "16", "MASTER_ADDR": "first"}
    common = "--distributed-world-size 16 --distributed-rank 9 --distributed-init-method env:// "
    common += "--distributed-no-spawn "
    assert common + "--device-id 1" in dry_run(**rank)
    assert common + "--cpu --distributed-backend gloo" in dry_run("--gpus", "0", **rank)
    message = fails("train.sh", "/data", "--save-dir", tmp_path, "--gpus", "2", **rank)
    assert "--gpus 2: torchrun's --nproc_per_node sets the number" in message


@needs_fairseq
@pytest.mark.parametrize(("given", "threads"), [("", "4"), ("3", "3")], ids=["default", "given"])
def test_each_of_two_processes_gets_half_of_the_cores_it_may_use(tmp_path, given, threads):
    programs = {
        "nproc": "echo 8",  # of the machine's cores, those that a scheduler gave
        "fairseq-train": "",
        "python": '[ "$2" != torch.distributed.run ] || exec echo "$OMP_NUM_THREADS threads"\n'
        + PYTHON,
    }
    write_programs(tmp_path, programs)
    options = ["--save-dir", tmp_path / "run", "--arch", "wsum_lstm", "--cpu-processes", "2"]
    output = succeeds("train.sh", tmp_path, *options, VENV=tmp_path, OMP_NUM_THREADS=given)
    assert output == f"{threads} threads\n"


@needs_fairseq
def test_under_slurm_fairseq_gets_the_size_and_a_port(tmp_path):
    slurm = {"SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "1", "SLURM_JOB_ID": "60007"}
    a_gpu_a_task = dry_run(SLURM_STEP_NUM_TASKS="16", **slurm)
    assert "--distributed-world-size 16 --distributed-port 20007" in a_gpu_a_task
    options = ["--save-dir", tmp_path, "--gpus", "8"]
    message = fails("train.sh", "/data", *options, SLURM_STEP_NUM_TASKS="16", **slurm)
    assert "--gpus 8: Slurm's --ntasks-per-node sets the number" in message
    slurm |= {"SLURM_STEP_NUM_TASKS": "2", "CUDA_VISIBLE_DEVICES": "2,3,5,7"}
    a_node_a_task = dry_run("--gpus", "3", **slurm)
    assert "--distributed-world-size 6 --distributed-port 20007" in a_node_a_task
    assert a_node_a_task.startswith(r"env CUDA_VISIBLE_DEVICES=2\,3\,5 fairseq-train ")
    assert "gives this task only 4" in fails("train.sh", "/data", *options, **slurm)


@needs_fairseq
@pytest.mark.parametrize(
    ("options", "end"),
    [([], "--notes x"), (["--gpus", "2"], "--distributed-world-size 2 --notes x")],
)
def test_one_task_of_slurm_starts_a_process_for_each_gpu_itself(options, end):
    """fairseq would take the number from the job, which may have more GPUs, or wait for tasks."""
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "a[1-2]", "SLURM_STEP_NODELIST": "a1"}
    command = dry_run(*options, "--notes", "x", **slurm)
    assert command.startswith("env -u SLURM_JOB_NODELIST -u SLURM_STEP_NODELIST fairseq-train ")
    assert command.endswith(end)
    assert dry_run("--gpus", "0", **slurm).startswith("fairseq-train ")


@needs_fairseq
def test_processes_for_gpus_can_be_interrupted_in_the_background(tmp_path):
    """They end with the first process by SIGINT, which a background job of a script ignores."""
    show = 'exec python -c "import signal; print(signal.getsignal(signal.SIGINT))"'
    write_programs(tmp_path, {"fairseq-train": show, "python": PYTHON})
    options = ["--save-dir", tmp_path / "run", "--arch", "wsum_lstm"]
    train = shlex.join(map(str, [SCRIPTS / "train.sh", tmp_path, *options]))
    job = subprocess.run(
        ["bash", "-c", f"{train} & wait"],
        env=environment(VENV=str(tmp_path)),
        capture_output=True,
        text=True,
    )
    assert "default_int_handler" in job.stdout, job.stderr


@needs_fairseq
@pytest.mark.parametrize(
    ("options", "variables", "named"),
    [
        ([], {"OMPI_COMM_WORLD_SIZE": "2"}, "mpirun is not supported; start the processes with"),
        (["--cpu-processes", "2"], {"WORLD_SIZE": "2"}, "--cpu-processes and torchrun exclude"),
        (["--cpu-processes", "1"], {"WORLD_SIZE": "2"}, "--cpu-processes and torchrun exclude"),
        (["--gpus", "0"], {"SLURM_STEP_NUM_TASKS": "2"}, "--gpus 0 under srun: start"),
        (["--cpu-processes", "1"], {"SLURM_STEP_NUM_TASKS": "2"}, "and several tasks of srun"),
    ],
    ids=["mpirun", "torchrun", "one of torchrun", "srun", "one of srun"],
)
def test_ways_to_start_processes_that_exclude_each_other_are_named(
    options, variables, named, tmp_path
):
    options = ["/data", "--arch", "wsum_lstm", "--save-dir", tmp_path, *options]
    assert named in fails("train.sh", *options, **variables)


@needs_fairseq
def test_the_port_of_slurm_and_damaged_checkpoints_reach_every_process():
    slurm = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_JOB_ID": "7"}
    assert "--distributed-port 5555" in dry_run(MASTER_PORT="5555", **slurm)
    assert " --skip-damaged" in dry_run("--cpu-processes", "2", "--skip-damaged")


@needs_fairseq
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["/data", "--arch", "wsum_lstm"], "--save-dir"),
        (["--arch", "wsum_lstm", "--save-dir", "{out}"], "no data"),
        (["/data", "--save-dir", "{out}", "--gpus", "two"], "--gpus two"),
        (["/data", "--save-dir", "{out}", "--precision", "fp8"], "--precision fp8"),
        (
            ["/data", "--save-dir", "{out}", "--gpus", "2", "--cpu-processes", "2"],
            "--cpu-processes 2",
        ),
        (["/data", "--save-dir", "{out}", "--user-dir", "y"], "--user-dir y: no such folder"),
        (["/data", "--save-dir"], "--save-dir needs a value"),
        (
            ["/data", "--save-dir", "--arch", "lstm"],
            "--save-dir needs a value, but the option --ar",
        ),
        (["/data", "--save-dir", "{out}", "--no-last-checkpoints"], "--no-last-checkpoints: an"),
        (["/no/data", "--arch", "wsum_lstm", "--save-dir", "{out}"], "no data folder /no/data"),
        (["{out}", "--save-dir", "{out}"], "no --arch: name a model"),
        (
            ["{out}", "--arch", "lstm", "--save-dir", "{out}", "--gpus", "99"],
            "--gpus 99: torch sees ",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_training_names_a_wrong_option(options, named, tmp_path):
    options = [option.format(out=tmp_path) for option in options]
    assert named in fails("train.sh", *options)
    assert not list(tmp_path.iterdir())


@needs_fairseq
def test_another_file_to_restore_does_not_overwrite_a_training(tmp_path):
    for name in ("base", "run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoint_last.pt").touch()
    start = [tmp_path, "--arch", "wsum_lstm", "--save-dir", tmp_path / "run", "--gpus", 0]
    for option in (
        ["--restore-file", tmp_path / "base" / "checkpoint_last.pt"],
        [f"--restore-file={tmp_path}/base/checkpoint_last.pt", "--reset-optimizer"],
    ):
        message = fails("train.sh", *start, *option)
        assert f"overwrite the checkpoints in {tmp_path}/run. To continue these, leave" in message
    for own in ("checkpoint_last.pt", tmp_path / "run" / "checkpoint_last.pt"):
        message = run("train.sh", *start, "--restore-file", own, "--help-me").stderr
        assert "unrecognized arguments: --help-me" in message
    for option in (["--reset-dataloader"], ["--lr", "0.1", "--reset-optimizer"]):
        message = fails("train.sh", *start, *option)  # every restart would reset it again
        assert f"{option[-1]}: {tmp_path}/run has checkpoints" in message
    (tmp_path / "run" / "checkpoint_last.pt").rename(tmp_path / "run" / "checkpoint_best.pt")
    message = fails("train.sh", *start, "--restore-file", "checkpoint_last.pt")
    assert "checkpoint_last.pt: it is missing, and" in message  # the other one is damaged


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"OMP_WAIT_POLICY": "passive", "THP_MEM_ALLOC_ENABLE": "1"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
        ({"THP_MEM_ALLOC_ENABLE": "0"}, {"THP_MEM_ALLOC_ENABLE": "0"}),
    ],
    ids=["defaults", "waiting", "pages"],
)
def test_a_training_gets_the_documented_variables(given, expected, tmp_path):
    write_programs(tmp_path / "venv", {"python": "exit 1", "fairseq-train": "env"})
    options = ["--arch", "wsum_lstm", "--save-dir", tmp_path / "run", "--gpus", 0]
    printed = succeeds("train.sh", tmp_path, *options, VENV=str(tmp_path / "venv"), **given)
    assert {f"{name}={value}" for name, value in expected.items()} <= set(printed.splitlines())


needs_flock = pytest.mark.skipif(shutil.which("flock") is None, reason="this machine has no flock")


@needs_fairseq
@needs_flock
@pytest.mark.slow
def test_two_trainings_never_write_into_one_folder(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / ".train.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("process 7 on there\n")
        lock.flush()
        message = fails("train.sh", tmp_path, "--arch", "wsum_lstm", "--save-dir", tmp_path)
    assert "another training run is writing there (process 7 on there); wait until" in message


@needs_fairseq
@needs_flock
def test_a_training_waits_for_the_previous_one_to_end(tmp_path):
    """The data workers of a killed training hold the lock for some seconds."""
    fcntl = pytest.importorskip("fcntl")
    command = [SCRIPTS / "train.sh", tmp_path, "--save-dir", tmp_path, "--gpus", "0"]
    command += ["--arch", "wsum_lstm", "--help-me"]
    with (tmp_path / ".train.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        training = subprocess.Popen(
            command,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        first = training.stderr.readline()
    message = first + training.communicate()[1]
    assert f"waiting for another training run in {tmp_path} to end" in first
    assert "another training run is writing" not in message and "unrecognized arguments" in message
    assert (tmp_path / ".train.lock").read_text().startswith("process ")


@needs_fairseq
def test_a_file_system_without_locks_is_named(tmp_path):
    flock = tmp_path / "bin" / "flock"
    flock.parent.mkdir()
    flock.write_text("#!/bin/sh\nexit 69\n")
    flock.chmod(0o755)
    options = ["--save-dir", tmp_path, "--gpus", "0", "--arch", "wsum_lstm", "--help-me"]
    path = f"{flock.parent}{os.pathsep}{os.environ['PATH']}"
    done = run("train.sh", tmp_path, *options, PATH=path)
    assert f"{tmp_path} is on a file system without locks" in done.stderr
    assert "waiting for" not in done.stderr and "unrecognized arguments" in done.stderr


# score.sh


def test_missing_hypotheses_are_rejected_and_listed(load):
    pytest.importorskip("sacremoses")
    score = load("score")
    printed = [
        "H-2\t-0.1\tc",
        "D-2\t-0.1\tx",
        "H-0\t-0.2\ta",
        "H-0\t-0.3\tsecond best",
        "H-1\t-1\tb",
    ]
    found = score.tagged(printed, "H")
    assert score.arrange(found, 3, "hypotheses") == ["a", "b", "c"]
    with pytest.raises(score.UserError, match=r"3 hypotheses for 5 sentences \(missing: 3, 4;"):
        score.arrange(found, 5, "hypotheses")
    with pytest.raises(score.UserError, match="too many: 2;"):
        score.arrange(found, 2, "hypotheses")


def test_an_unknown_word_becomes_its_aligned_source_word(load):
    pytest.importorskip("sacremoses")
    replaced = load("score").replace_unknown(
        ["ein <unk> <unk>", ""], ["0-0 2-1 1-2", ""], ["a zebra runs", "no"]
    )
    assert replaced == ["ein runs zebra", ""]


@pytest.mark.parametrize("form", FORMS)
def test_the_reference_itself_scores_100_both_ways(form, tmp_path, load):
    pytest.importorskip("sacremoses")
    score = load("score")
    text = {
        "raw": ["Ein Mann sieht einen Hund.", "Der Hund, der bellt, ist nicht da."],
        "lc.norm.tok": ["ein mann sieht einen hund .", "der hund , der bellt , ist nicht da ."],
    }
    for name, written in text.items():
        (tmp_path / f"test.{name}.de").write_text("".join(f"{line}\n" for line in written))
    record = {"text": form, "units": "bpe", "target_lang": "de"}
    detok = score.detokenised(text[form], record)
    figures = score.both_ways(text[form], detok, record, tmp_path, "test")
    assert [figure.score for figure in figures[:4]] == pytest.approx([100.0] * 4)
    bleu = [figure.signature for figure in figures if figure.metric == "BLEU"]
    primary, second = ("tok:none", "tok:13a") if form == "lc.norm.tok" else ("tok:13a", "tok:none")
    assert primary in bleu[0] and second in bleu[1]
    assert ("case:lc" in bleu[1]) == (form == "lc.norm.tok")
    if form == "lc.norm.tok":  # which has no capitals
        assert "case:mixed" in bleu[2] and "tok:13a" in bleu[2]
        assert figures[4].score < 90


def test_a_wrong_number_of_references_is_rejected(tmp_path, load):
    pytest.importorskip("sacremoses")
    score = load("score")
    (tmp_path / "test.raw.de").write_text("Ein Mann.\n")
    with pytest.raises(score.UserError, match=r"test\.raw\.de has 1 lines for 2 translations"):
        record = {"text": "raw", "target_lang": "de"}
        score.both_ways(["a", "b"], ["a", "b"], record, tmp_path, "test")


@needs_fairseq
def test_averaging_gives_the_mean_of_the_weights_of_the_last_epochs(tmp_path, load):
    torch = pytest.importorskip("torch")
    for epoch, value in ((1, 100.0), (9, 1.0), (10, 4.0)):
        weights = {"w": torch.full((2, 3), value), "steps": torch.tensor(epoch)}
        state = {"model": weights, "last_optimizer_state": {"m": 1}, "cfg": {"a": epoch}}
        torch.save(state, tmp_path / f"checkpoint{epoch}.pt")
    torch.save({}, tmp_path / "checkpoint_best.pt")
    average = load("average_checkpoints")
    paths = average.last_checkpoints(tmp_path, 2)
    assert [path.name for path in paths] == ["checkpoint9.pt", "checkpoint10.pt"]
    state = average.average(paths)
    assert torch.equal(state["model"]["w"], torch.full((2, 3), 2.5))
    assert state["model"]["steps"] == 10 and state["cfg"] == {"a": 10}
    with pytest.raises(average.UserError, match=r"--average 4.*has 3 checkpoints of epochs and 0"):
        average.last_checkpoints(tmp_path, 4)
    for name in ("checkpoint_1_500", "checkpoint_1_1000", "checkpoint_2_1500", "checkpoint_2_20"):
        (tmp_path / f"{name}.pt").touch()  # --save-interval-updates
    paths = average.last_checkpoints(tmp_path, 4)
    assert [path.name for path in paths] == [
        *("checkpoint_2_20.pt", "checkpoint_1_500.pt"),
        *("checkpoint_1_1000.pt", "checkpoint_2_1500.pt"),
    ]


def test_an_average_replaces_a_file_only_if_told_to(tmp_path, load, monkeypatch):
    torch = pytest.importorskip("torch")
    torch.save({"model": {"w": torch.ones(2)}}, tmp_path / "checkpoint1.pt")
    mine = tmp_path / "mine.pt"
    mine.write_text("...")
    program = load("average_checkpoints")
    command = ["average_checkpoints.py", str(tmp_path), "1", str(mine)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(program.UserError, match=r"mine.pt exists: give --overwrite"):
        program.main()
    assert mine.read_text() == "..."
    monkeypatch.setattr(sys, "argv", [*command, "--overwrite"])
    program.main()
    assert torch.load(mine)["model"]["w"].tolist() == [1, 1]


@needs_fairseq
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "--checkpoints"),
        (["--checkpoints", "/none"], "/none"),
        (["--checkpoints", "{data}", "--lenpen", "0.6,1"], "--subset valid"),
        (["--checkpoints", "{data}", "--beam", "0"], "--beam 0"),
        (["--checkpoints", "{data}", "--beam=0"], "--beam 0"),
        (["--checkpoints", "{data}", "--lenpen", "1.2.3"], "--lenpen 1.2.3"),
        (["--checkpoints", "{data}"], "checkpoint_best.pt"),
        (["--checkpoints", "{data}", "--replace-unk", "--average", "1"], "--replace-unk"),
        (["--checkpoints", "{data}", "--average", "1", "--out", "12:30"], "--out 12:30: fairseq"),
        (["--checkpoints", "{data}:none.pt", "--out", "x"], "{data}: an ensemble needs files"),
        (["--checkpoints", "{data}/dict.de.txt:none.pt"], "none.pt: no such file"),
        (["--checkpoints", "{data}/dict.de.txt:{data}/dict.en.txt"], "an ensemble needs --out"),
        (["--checkpoints", "{data}/dict.de.txt:"], "dict.de.txt:: no file follows the ':'"),
        (["--checkpoints", "-none.pt"], "--checkpoints ./-none.pt: no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_scoring_names_a_wrong_option(prepared, options, named):
    options = [option.format(data=prepared) for option in options]
    assert named.format(data=prepared) in fails("score.sh", prepared, *options)


@needs_fairseq
def test_the_ensemble_translates_with_the_beam_and_every_penalty(prepared, tmp_path):
    """With a stand-in for fairseq-generate, which writes down its arguments."""
    pytest.importorskip("sacremoses")
    called = tmp_path / "called"
    translate = f"""printf '%s\\n' "$@" end >>{shlex.quote(str(called))}
for k in 0 1 2 3 4 5 6 7 8; do printf "H-$k\\t-1\\tein mann .\\n"; done"""
    programs = {"fairseq-train": "", "fairseq-generate": translate, "python": PYTHON}
    write_programs(tmp_path / "venv", programs)
    for name in ("one.pt", "other.pt"):
        (tmp_path / name).touch()
    both = f"{tmp_path}/one.pt:{tmp_path}/other.pt"
    score = ["score.sh", prepared, "--checkpoints", both, "--out", tmp_path / "out", "--beam", 3]
    score += ["--subset", "valid", "--lenpen", "0.5,1", "--batch-size", 7, "--max-len-b", 9]
    succeeds(*score, VENV=str(tmp_path / "venv"))
    wanted = {"--path": both, "--beam": "3", "--gen-subset": "valid", "--batch-size": "7"}
    wanted |= {"--max-len-b": "9", "--post-process": "sentencepiece"}
    *calls, rest = called.read_text().split("end\n")
    for call, penalty in zip(calls, ("0.5", "1"), strict=True):
        data, *options = call.splitlines()
        given = dict(zip(options[::2], options[1::2], strict=True))
        wanted["--lenpen"] = penalty
        assert data == str(prepared) and {name: given.get(name) for name in wanted} == wanted
    record = json.loads((tmp_path / "out/scores.json").read_text())
    assert not rest and record["beam"] == 3 and record["checkpoint"] == both


@needs_fairseq
def test_a_path_that_fairseq_would_split_is_rejected(prepared, tmp_path):
    data, training = tmp_path / "data 12:30", tmp_path / "run 12:30"
    data.symlink_to(prepared)
    training.mkdir()
    cure = "fairseq splits paths at ':'; give a path without one, such as a link to it"
    message = fails("score.sh", prepared, "--checkpoints", training)
    assert f"--checkpoints {training}: {cure}" in message
    assert f"DATA {data}: {cure}" in fails("score.sh", data, "--checkpoints", tmp_path)


@needs_fairseq
def test_data_that_cannot_be_scored_is_named_before_the_translation(prepared, tmp_path):
    scoring = ["score.sh", tmp_path, "--checkpoints", tmp_path / "model.pt"]
    (tmp_path / "model.pt").touch()
    record = json.loads((prepared / "prepared.json").read_text())

    def of(**changes):
        (tmp_path / "prepared.json").write_text(json.dumps({**record, **changes}))

    of(corpus="ptb", script="prepare_ptb.sh")
    cure = "was made by prepare_ptb.sh: give a folder of prepare_multi30k.sh, which also prepares"
    assert cure in fails(*scoring)
    out = ["--out", tmp_path / "out", "--checkpoints", tmp_path / "model.pt"]
    assert cure in fails("distil.sh", tmp_path, *out)
    of()
    assert "reference has no test split in de: prepare the data again" in fails(*scoring)
    shutil.copytree(prepared / "reference", tmp_path / "reference")
    (tmp_path / "link").symlink_to("nowhere")
    assert "link is a link to nothing" in fails(*scoring, "--out", tmp_path / "link")


@needs_fairseq
def test_sacrebleu_tokenises_by_the_language(tmp_path, load):
    score = load("score")
    write = (tmp_path / "test.raw.zh").write_text
    write("他们在公园里看一只大狗。\n", "utf-8")
    prepared = {"text": "raw", "units": "bpe", "target_lang": "zh"}
    system = ["他们在公园里看一只小狗。"]
    figure = score.both_ways(system, system, prepared, tmp_path, "test")[0]
    assert "|tok:zh|" in figure.signature and figure.score > 50


def test_the_locale_does_not_change_the_encoding_of_texts():
    program = "import sys; print(sys.flags.utf8_mode, open('/dev/null').encoding)"
    check = 'source "$1"; use_environment; "$PYTHON" -c "$2"'
    done = subprocess.run(
        ["bash", "-c", check, "bash", SCRIPTS / "common.sh", program],
        env=environment(VENV=sys.prefix, LC_ALL="POSIX", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0"),
        capture_output=True,
        text=True,
    )
    assert done.stdout.split()[0] == "1" and done.stdout.split()[1].lower() == "utf-8"


def test_a_signal_that_ends_a_script_ends_its_long_command(tmp_path):
    check = 'source "$1"; run_job bash -c "echo \\$\\$ >\\"$2/started\\"; exec sleep 60"; echo no'
    script = subprocess.Popen(
        ["bash", "-c", check, "bash", SCRIPTS / "common.sh", tmp_path],
        stdout=subprocess.PIPE,
        text=True,
    )
    started = tmp_path / "started"
    deadline = time.monotonic() + 30
    while not (started.exists() and started.read_text().strip()):
        assert time.monotonic() < deadline and script.poll() is None
        time.sleep(0.01)
    script.terminate()
    assert script.communicate(timeout=30)[0] == "" and script.returncode == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


@pytest.mark.parametrize(("command", "status"), [("true", "0"), ("exit 7", "7")])
def test_a_long_command_gives_its_status(command, status):
    check = 'source "$1"; status=0; run_job bash -c "$2" || status=$?; echo $status'
    command = ["bash", "-c", check, "bash", SCRIPTS / "common.sh", command]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == status


@needs_fairseq
def test_an_environment_with_fairseq_alone_knows_the_cells_of_the_clone(tmp_path):
    check = 'source "$1"; PYTHON="$2"; check_cell no-such-cell'
    # -S: without the packages of the environment, as if this one were not installed
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    (tmp_path / "python").chmod(0o755)
    torch = [path for path in sys.path if (Path(path) / "torch").is_dir()]
    done = subprocess.run(
        ["bash", "-c", check, "bash", SCRIPTS / "common.sh", tmp_path / "python"],
        cwd="/",
        env={**environment(), "PYTHONPATH": os.pathsep.join(torch)},
        capture_output=True,
        text=True,
    )
    assert "error: --cell no-such-cell: choose one of lstm, no-srnn" in done.stderr


def test_a_missing_package_is_named():
    check = 'source "$1"; PYTHON="$2"; check_modules json no_such_one nor_this'
    done = subprocess.run(
        ["bash", "-c", check, "bash", SCRIPTS / "common.sh", sys.executable],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "has no no_such_one nor_this: run scripts/setup.sh, or pip install" in done.stderr


# All together


@needs_fairseq
def test_prepare_train_resume_in_two_processes_average_and_score(prepared, tmp_path):
    run_folder = tmp_path / "my run"
    train = ["train.sh", prepared, "--save-dir", run_folder, *TINY.split()]
    succeeds(*train, "--max-epoch", 1)
    log = succeeds(*train, "--max-epoch", 2, "--cpu-processes", 2)
    assert "continuing from" in log and log.count("done training") == 1
    # Epoch 2 is one update of both processes together, 30 sentences each.
    assert "num_updates 3" in log and "num_updates 4" not in log

    out = tmp_path / "scores"
    score = ["score.sh", prepared, "--checkpoints", run_folder, "--average", 2, "--out", out]
    succeeds(*score, "--subset", "valid", "--lenpen", "0.5,1", "--max-len-b", "10")
    record = json.loads((out / "scores.json").read_text())
    assert record["sentences"] == 9 and record["generate_options"] == "--max-len-b 10"
    assert record["averaged"] == ["checkpoint1.pt", "checkpoint2.pt"]
    assert [tried["lenpen"] for tried in record["tried"]] == [0.5, 1.0]
    bleu = [tried["figures"][0]["score"] for tried in record["tried"]]
    assert record["figures"][0]["score"] == max(bleu)
    assert all(figure["signature"] for figure in record["figures"])
    for penalty in ("0.5", "1"):
        assert len(lines(out / f"hypotheses.lenpen{penalty}.de")) == 9

    both = f"{run_folder}/checkpoint1.pt:{run_folder}/checkpoint2.pt"
    options = ["--out", tmp_path / "both", "--subset", "valid", "--max-len-b", "10"]
    succeeds(*score[:2], "--checkpoints", both, *options)
    ensemble = json.loads((tmp_path / "both" / "scores.json").read_text())
    assert ensemble["checkpoint"] == both and ensemble["sentences"] == 9

    # a failed run leaves the scores unchanged
    longest = max(len(line.split()) for line in lines(prepared / "text" / "test.en"))
    too_short = ["--skip-invalid-size-inputs-valid-test", "--max-source-positions", longest]
    message = fails(*score, *too_short)
    assert "hypotheses for 7 sentences" in message
    assert "has 2 checkpoints of epochs" in fails(*score, "--average", 3)
    assert json.loads((out / "scores.json").read_text()) == record
    # new scores replace those before, and nothing else
    (out / "notes.txt").write_text("mine")
    succeeds(*score, "--subset", "valid", "--lenpen", "1", "--max-len-b", "10")
    tried = json.loads((out / "scores.json").read_text())["tried"]
    assert [each["lenpen"] for each in tried] == [1]
    assert not list(out.glob("*lenpen0.5*")) and (out / "notes.txt").read_text() == "mine"

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "average.pt").write_text("...")
    assert "other files" in fails(*score, "--out", tmp_path / "thesis")


@needs_fairseq
def test_the_best_penalty_wins_and_unknown_words_are_replaced(prepared, tmp_path):
    reference = lines(prepared / "reference" / "valid.lc.norm.tok.de")
    source = [line.split() for line in lines(prepared / "text" / "valid.en")]
    for penalty, sentences in (("0.5", reference), ("1", ["<unk> b <unk>"] * len(reference))):
        printed = [f"H-{i}\t-0.1\t{sentence}" for i, sentence in enumerate(sentences)]
        printed += [f"A-{i}\t1-0 0-1 0-2" for i in range(len(sentences))]
        (tmp_path / f"generate.lenpen{penalty}.txt").write_text("\n".join(printed[::-1]) + "\n")
    command = [sys.executable, SCRIPTS / "score.py", prepared, "--out", tmp_path]
    command += ["--subset", "valid", "--beam", "5", "--lenpen", "1,0.5", "--replace-unk"]
    command += ["--checkpoint", "c.pt"]
    subprocess.run(command, check=True, capture_output=True)
    record = json.loads((tmp_path / "scores.json").read_text())
    assert record["lenpen"] == 0.5 and record["figures"][0]["score"] == pytest.approx(100)
    assert [tried["lenpen"] for tried in record["tried"]] == [1.0, 0.5]
    replaced = [f"{words[1]} b {words[0]}" for words in source]
    assert lines(tmp_path / "hypotheses.lenpen1.de") == replaced


# quickstart.sh


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--cell", "no"], "--cell no: choose one of lstm, no-srnn"),
        (["--epochs=0"], "--epochs 0"),
        (["--quick"], "--quick"),
    ],
    ids=" ".join,
)
def test_the_quickstart_names_a_wrong_option(options, named):
    assert named in fails("quickstart.sh", *options)
