"""`scripts/train.sh`, mostly without a training."""

import os
import shlex
import shutil
import subprocess

import pytest
from commands import needs_fairseq
from shell import PYTHON, SCRIPTS, environment, fails, run, succeeds, write_programs


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
        (["--precision", "amp"], "--amp"),  # for a machine with GPUs, on one without
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
        "python": '[ "$3" != torch.distributed.run ] || exec echo "$OMP_NUM_THREADS threads"\n'
        + PYTHON,
    }
    write_programs(tmp_path, programs)
    options = ["--save-dir", tmp_path / "run", "--arch", "wsum_lstm", "--cpu-processes", "2"]
    output = succeeds("train.sh", tmp_path, *options, VENV=tmp_path, OMP_NUM_THREADS=given)
    assert output == f"{threads} threads\n"
    message = fails("train.sh", tmp_path / "gone", *options, VENV=tmp_path)
    assert "no data folder" in message and "threads" not in message  # before torchrun starts


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
    torchrun = {"MASTER_ADDR": "a", "MASTER_PORT": "1", "RANK": "0", "WORLD_SIZE": "1"}
    for variables in (slurm, torchrun):  # torchrun's may be set for a single process
        command = dry_run(*options, "--notes", "x", **variables)
        unset = command.split("env ")[1].split(" fairseq-train ")[0].replace("-u ", "").split()
        assert {*variables} - {"SLURM_JOB_ID"} <= {*unset}
        assert command.endswith(end)
        assert dry_run("--gpus", "0", **variables).startswith("fairseq-train ")


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
        (["--cpu-processes", "2"], {"WORLD_SIZE": "2"}, "(WORLD_SIZE is 2) exclude"),
        (["--cpu-processes", "1"], {"WORLD_SIZE": "2"}, "(WORLD_SIZE is 2) exclude"),
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
@pytest.mark.parametrize(
    ("programs", "variables", "named"),
    [
        ([], {"SLURM_STEP_NUM_TASKS": "2"}, "fairseq needs Slurm's scontrol, which is not on PATH"),
        (["scontrol"], {"SLURM_STEP_NUM_TASKS": "2"}, "srun: torch sees no GPU here; ask Slurm"),
        ([], {"WORLD_SIZE": "2"}, "torchrun: torch sees no GPU here; add --gpus 0"),
    ],
    ids=["no scontrol", "no GPU under srun", "no GPU under torchrun"],
)
def test_processes_that_could_not_train_together_are_not_started(
    programs, variables, named, tmp_path
):
    ours = {"fairseq-train": "exit 9", "python": PYTHON}
    write_programs(tmp_path, ours | dict.fromkeys(programs, ""))
    options = [tmp_path, "--arch", "wsum_lstm", "--save-dir", tmp_path / "run"]
    variables |= {"SLURM_PROCID": "0", "SLURM_JOB_ID": "7", "RANK": "0", "MASTER_ADDR": "a"}
    variables |= {"CUDA_VISIBLE_DEVICES": "", "VENV": str(tmp_path)}
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
        (["/data", "--save-dir", "{out}", "--no-save-optimizer-state"], "would begin its learning"),
        (["{out}:/no/more", "--save-dir", "{out}"], "no data folder /no/more, which is one of"),
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
    own = ["--restore-file", tmp_path / "run" / "checkpoint_last.pt", "--reset-dataloader"]
    for option in (["--reset-dataloader"], ["--lr", "0.1", "--reset-optimizer"], own):
        message = fails("train.sh", *start, *option)  # every restart would reset it again
        assert f"{option[-1]}: {tmp_path}/run has checkpoints" in message
    message = run("train.sh", *start, "--reset-logging", "--help-me").stderr  # resets no training
    assert "unrecognized arguments: --help-me" in message
    (tmp_path / "run" / "checkpoint_last.pt").rename(tmp_path / "run" / "checkpoint_best.pt")
    for own in ("checkpoint_last.pt", tmp_path / "run" / "checkpoint_last.pt"):
        message = fails("train.sh", *start, "--restore-file", own)
        assert "checkpoint_last.pt: it is missing, and" in message  # the other one is damaged


@needs_fairseq
def test_every_folder_of_the_data_has_text_and_the_same_dictionaries(tmp_path):
    first, more = tmp_path / "first", tmp_path / "more"
    for folder in (first, more):
        folder.mkdir()
        (folder / "dict.en.txt").write_text("a 2\nb 1\n")
    words = [f"{first}:{more}", "--arch", "wsum_lstm", "--save-dir", tmp_path / "run", "--gpus", 0]
    assert f"{more}, one of the folders of {first}:{more}, has no" in fails("train.sh", *words)
    (more / "train.en-de.en.idx").touch()
    assert "unrecognized arguments: --help-me" in run("train.sh", *words, "--help-me").stderr
    (more / "dict.en.txt").write_text("b 2\na 1\n")
    message = fails("train.sh", *words)
    assert f"{more}/dict.en.txt differs from that of {first}: prepare the text with" in message


DOCUMENTED = {  # in docs/environment.md
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, DOCUMENTED),
        *(({name: "user's"}, {**DOCUMENTED, name: "user's"}) for name in DOCUMENTED),
    ],
    ids=["defaults", *DOCUMENTED],
)
def test_a_training_gets_the_documented_variables(given, expected, tmp_path):
    write_programs(tmp_path / "venv", {"python": "", "fairseq-train": "env"})
    options = ["--arch", "wsum_lstm", "--save-dir", tmp_path / "run", "--gpus", 0]
    printed = succeeds("train.sh", tmp_path, *options, VENV=str(tmp_path / "venv"), **given)
    assert {f"{name}={value}" for name, value in expected.items()} <= set(printed.splitlines())
    assert "CUDA_VISIBLE_DEVICES=" in printed.splitlines()  # none


def test_an_environment_with_an_old_python_is_named(tmp_path):
    old = '[ "$1" = --version ] && echo Python 3.10.4'
    write_programs(tmp_path / "venv", {"python": old, "fairseq-train": "exit 9"})
    options = ["--arch", "lstm", "--save-dir", tmp_path / "run"]
    message = fails("train.sh", tmp_path, *options, VENV=str(tmp_path / "venv"))
    assert "python is Python 3.10.4; this project needs Python 3.11 or later" in message


@pytest.mark.parametrize(("precision", "slow"), [("bf16", True), ("bf16", False), ("fp32", True)])
def test_training_in_bf16_on_a_processor_without_it_is_refused(precision, slow, tmp_path):
    write_programs(tmp_path / "venv", {"python": f"echo {slow}", "fairseq-train": "exit 0"})
    options = ["--arch", "lstm", "--save-dir", tmp_path / "run", "--gpus", 0]
    options += ["--precision", precision]
    check = fails if slow and precision == "bf16" else succeeds
    printed = check("train.sh", tmp_path, *options, VENV=str(tmp_path / "venv"))
    message = "--precision bf16: this processor has no instructions for it; use fp32, the default,"
    assert (message in printed) == (check is fails)


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
    assert "another run is writing there (process 7 on there); wait until" in message


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
    assert f"waiting for another run in {tmp_path} to end" in first
    assert "another run is writing" not in message and "unrecognized arguments" in message
    assert (tmp_path / ".train.lock").read_text().startswith("process ")


@needs_fairseq
def test_a_file_system_without_locks_is_named(tmp_path):
    write_programs(tmp_path, {"flock": "exit 69"})
    options = ["--save-dir", tmp_path, "--gpus", "0", "--arch", "wsum_lstm", "--help-me"]
    path = f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}"
    done = run("train.sh", tmp_path, *options, PATH=path)
    assert f"{tmp_path} is on a file system without locks" in done.stderr
    assert "waiting for" not in done.stderr and "unrecognized arguments" in done.stderr
