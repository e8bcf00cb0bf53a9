"""`fairseq-wsum study` as a command: studies that are killed, fail or go to Slurm."""

import csv
import errno
import fcntl
import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from study_recipe import (
    RECIPE,
    STUDIES,
    STUDY,
    WARM,
    Writer,
    plan_of,
    run_study,
    start,
    task,
    wait_until,
    writer,
)

from fairseq_wsum import cli
from fairseq_wsum.study import commands, launch
from fairseq_wsum.study.plan import Plan
from fairseq_wsum.study.plan_file import read_plan
from fairseq_wsum.study.progress import standing
from fairseq_wsum.study.record import finished_record
from fairseq_wsum.study.run import LOCK, execute, hold, state


@pytest.fixture
def make(tmp_path) -> Writer:
    return writer(tmp_path)


def test_a_study_does_all_runs_and_leaves_one_with_an_error_behind(make) -> None:
    file = make(models={"bad": {"fail": True}}, seeds=[1, 2])
    status, said = run_study(file, "--jobs", "2")
    assert status == 1
    assert "2 of 6 runs failed: counting/bad/seed-1, counting/bad/seed-2" in said
    assert "out of memory" in said and "Traceback" not in said
    states = [state(run) for run in plan_of(file).runs]
    assert states == ["finished", "finished", "failed"] * 2
    assert (file.parent / "out/counting/prepared").read_text() == "prepared\n"

    process, log = start(file, command="report", python=WARM)
    assert process.wait(60) == 0
    log.seek(0)
    assert re.search(r"\| `?lstm`? \|.* 75\.5 ± 35\.4 \|", log.read())
    assert "out of memory" in (file.parent / "out/report/report.md").read_text()


def test_nothing_is_trained_if_the_data_cannot_be_prepared(make) -> None:
    file = make()
    status, said = run_study(file, NO_DATA="1")
    assert status == 1 and "Traceback" not in said
    assert "counting: the data could not be prepared; no training was started" in said
    assert "no network" in said
    assert [state(run) for run in plan_of(file).runs] == ["waiting", "waiting"]


def test_a_damaged_record_is_named_with_the_cure(make) -> None:
    file = make()
    run = plan_of(file).runs[0]
    run.folder.mkdir(parents=True)
    (run.folder / "study.json").write_text('{"command": ')
    status, said = run_study(file)
    assert status == 1 and "Traceback" not in said
    assert re.search(r"study\.json is damaged .*; remove it to repeat the run", said)


def test_wrong_paths_are_named_with_the_cure(make, tmp_path) -> None:
    file = str(make())
    for command, path in (("study", "none.yaml"), ("report", tmp_path)):
        with pytest.raises(
            SystemExit, match=f"{path}: no such file; give the YAML file of a study"
        ):
            cli.main([command, str(path)])
        with pytest.raises(SystemExit, match=f"--out {file} is a file: give a folder"):
            cli.main([command, file, "--out", file])
    with pytest.raises(SystemExit, match=r"--out /proc/x: .*; give another folder"):
        cli.main(["study", file, "--out", "/proc/x"])


def test_a_folder_that_hydra_would_misread_is_refused(make, tmp_path) -> None:
    folder = tmp_path / "${HOME}"
    folder.mkdir()
    file = make().rename(folder / "study.yaml")
    (tmp_path / "recipe.sh").rename(folder / "recipe.sh")
    status, said = run_study(file)
    assert status == 1 and f"--out {folder}/out: hydra reads" in said
    assert "give a path without it" in said
    assert {path.name for path in folder.iterdir()} == {"study.yaml", "recipe.sh", "log"}


def test_a_study_that_is_killed_four_times_ends_like_one_that_ran_through(make) -> None:
    file = make(seeds=[1, 2])
    hang_up = signal.SIGHUP  # the terminal is closed, which tells the workers, too
    for sent, epoch in ((signal.SIGKILL, 1), (signal.SIGINT, 2), (hang_up, 3), (signal.SIGTERM, 4)):
        process, log = start(file, "--jobs", "2", STAY_AT=str(epoch))
        plan = plan_of(file)
        done = 2 * epoch  # of the first two runs
        wait_until(lambda done=done: epochs(file) >= done, process)
        if sent == hang_up:
            os.killpg(process.pid, sent)
        else:
            process.send_signal(sent)
        process.wait(60)
        if sent != signal.SIGKILL:
            log.seek(0)
            assert "the same command continues the study" in log.read()
        deadline = time.monotonic() + 60
        while "running" in [state(run) for run in plan.runs]:
            assert time.monotonic() < deadline, "the recipes go on without the study"
            time.sleep(0.1)
        assert epochs(file) == 2 * epoch
    assert "interrupted" in [state(run) for run in plan.runs]
    assert run_study(file, "--jobs", "2")[0] == 0
    assert epochs(file) == 20
    for run in plan.runs:
        assert standing(run).state == "finished"
        figures = json.loads((run.folder / "perplexity.json").read_text())
        assert figures == {"valid": 200 // run.seed + 0.5, "test": 100 // run.seed + 0.5}
    status, said = run_study(file)
    assert status == 0 and "running" not in said  # nothing is left to do


def test_one_run_at_a_time_ends_with_a_study_that_is_killed(make) -> None:
    file = make()
    process, _ = start(file, "--jobs", "1", STAY_AT="1")
    wait_until(lambda: epochs(file) >= 1, process)
    process.kill()
    process.wait(60)
    deadline = time.monotonic() + 60
    while (states := [state(run) for run in plan_of(file).runs]) != ["interrupted", "waiting"]:
        assert time.monotonic() < deadline, states
        time.sleep(0.1)
    assert run_study(file, "--jobs", "1")[0] == 0


def epochs(file: Path) -> int:
    """The number of epochs that all runs have done."""
    return sum(int(path.read_text()) for path in file.parent.glob("out/*/*/*/epoch"))


def ignores(process: int, number: signal.Signals) -> bool:
    """Whether a process ignores a signal, as Linux says."""
    status = Path(f"/proc/{process}/status").read_text()
    mask = int(re.findall(r"^SigIgn:\s*(\w+)$", status, re.M)[0], 16)
    return bool(mask >> (number - 1) & 1)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_study_in_the_background_outlives_its_shell(jobs, make) -> None:
    file = make()
    study = [
        sys.executable,
        *STUDY,
        "study",
        str(file),
        "--out",
        str(file.parent / "out"),
        "--jobs",
        jobs,
    ]
    begun, go_on = file.parent / "out/counting/lstm/seed-1/study.log", file.parent / "go-on"
    recipe, number = file.parent / "recipe.sh", file.parent / "process"
    wait = f'while [ ! -e "{go_on}" ]; do sleep 0.05; done\n'
    shell = f'nohup "$@" & echo $! >"{number}"; until [ -e "$0" ]; do sleep 0.05; done'
    recipe.write_text(RECIPE.replace("mkdir -p", wait + "mkdir -p"))
    with (file.parent / "log").open("w") as log:
        subprocess.run(
            ["bash", "-c", shell, begun, *study],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=True, timeout=60,
        )  # fmt: skip
    process = int(number.read_text())
    assert ignores(process, signal.SIGHUP)  # whenever it comes
    os.kill(process, signal.SIGHUP)  # as when the terminal is closed
    go_on.touch()
    deadline = time.monotonic() + 60
    while [state(run) for run in plan_of(file).runs] != ["finished"] * 2:
        assert time.monotonic() < deadline, (file.parent / "log").read_text()
        time.sleep(0.1)


def test_a_closed_terminal_ends_a_study_of_one_run_at_a_time(make) -> None:
    file = make()
    process, log = start(file, "--jobs", "1", STAY_AT="2")
    wait_until(lambda: epochs(file) >= 2, process)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 130
    log.seek(0)
    assert "the same command continues the study" in log.read()
    assert [state(run) for run in plan_of(file).runs] == ["interrupted", "waiting"]


def test_a_study_keeps_to_the_file_that_it_has_read(make) -> None:
    file = make()
    plan = plan_of(file)
    edits = 'echo "tasks: [" >"${0%/*}/study.yaml"\nmkdir -p "$run"'
    (file.parent / "recipe.sh").write_text(RECIPE.replace('mkdir -p "$run"', edits))
    status, said = run_study(file, "--jobs", "1")
    assert status == 0, said
    assert [state(run) for run in plan.runs] == ["finished", "finished"]
    assert not list(file.parent.glob("out/.hydra/plan-*"))


def test_studies_with_one_name_do_not_share_the_default_folder(make, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, out = make(), Path("runs/studies/study")
    for run in read_plan(first, out).runs:
        execute(run)
    cli.main(["study", str(first)])
    (tmp_path / "other").mkdir()
    second = writer(tmp_path / "other")()
    for command in ("study", "report"):
        with pytest.raises(SystemExit, match=f"belongs to {first}; give another folder with --out"):
            cli.main([command, str(second)])
    cli.main(["study", str(second), "--out", str(out)])
    cli.main(["study", str(first.rename(second))])


def test_a_file_system_without_locks_is_refused(make, monkeypatch) -> None:
    def no_locks(*_) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    file = make()
    out = file.parent / "out"
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(SystemExit, match=f"the file system of {out} has no locks .* with --out"):
        cli.main(["study", str(file), "--out", str(out)])
    assert not list(out.iterdir())


def test_two_studies_do_not_prepare_one_folder_at_a_time(make, monkeypatch, capfd) -> None:
    file = make()
    plan, folder = plan_of(file), file.parent / "out/counting"
    folder.mkdir(parents=True)
    (folder / "prepare.log").write_text("of the first study")
    second = threading.Thread(target=commands._prepare, args=[plan.runs])
    flock, waits = fcntl.flock, threading.Event()

    def watched(lock, operation) -> None:
        if operation == fcntl.LOCK_EX:  # until the other process gives it back
            waits.set()
        flock(lock, operation)

    monkeypatch.setattr(fcntl, "flock", watched)
    with hold(folder / LOCK):
        second.start()
        assert waits.wait(60)
        assert (folder / "prepare.log").read_text() == "of the first study"
        assert not (folder / "prepared").exists()
    second.join(60)
    assert (folder / "prepared").read_text() == "prepared\n"
    said = f"counting: waiting for another study that prepares data in {folder}"
    assert capfd.readouterr().err.splitlines() == [said, "counting: preparing the data"]


def test_data_are_prepared_for_tasks_with_runs_to_do_only(make) -> None:
    file = make(tasks={name: {"recipe": "recipe.sh"} for name in ("done", "open")})
    for run in plan_of(file).runs[:2]:
        execute(run)
    assert run_study(file)[0] == 0
    assert [path.parent.name for path in file.parent.glob("out/*/prepared")] == ["open"]


@pytest.mark.parametrize(
    ("launcher", "jobs"), [("joblib", 2), ("submitit_local", 2), ("submitit_slurm", 9)]
)
def test_runs_share_the_cores_of_this_machine(launcher, jobs, make, monkeypatch) -> None:
    given = []
    monkeypatch.setattr(commands, "_stop_on_signals", lambda: None)
    monkeypatch.setattr(commands.launch, "launch", lambda *arguments: given.append(arguments[3]))
    file = make()
    options = ["--out", str(file.parent / "out"), "--launcher", launcher, "--jobs", "9"]
    with pytest.raises(SystemExit, match="2 of 2 runs are not finished"):
        cli.main(["study", str(file), *options])
    assert given == [jobs]


@pytest.mark.parametrize(("launcher", "jobs"), [("joblib", 2), ("submitit_slurm", 1)])
def test_the_last_run_keeps_its_share_of_the_cores(launcher, jobs, make, monkeypatch) -> None:
    """Slurm gives each run its own."""
    given = []
    monkeypatch.setattr(commands, "_stop_on_signals", lambda: None)
    monkeypatch.setattr(commands, "_default_jobs", lambda: 9)
    monkeypatch.setattr(commands.launch, "launch", lambda *arguments: given.append(arguments[3]))
    file = make()
    execute(plan_of(file).runs[0])
    with pytest.raises(SystemExit, match="1 of 2 runs are not finished"):
        cli.main(["study", str(file), "--out", str(file.parent / "out"), "--launcher", launcher])
    assert given == [jobs]


def test_a_recipe_has_no_variables_of_joblib(make) -> None:
    """joblib gives its workers numbers of threads, which would overrule the user's."""
    file = make()
    variables = {"OMP_NUM_THREADS": "1"}
    assert run_study(file, "--jobs", "2", **variables)[0] == 0
    for run in plan_of(file).runs:
        assert (run.folder / "environment").read_text() == "OMP_NUM_THREADS=1\n"
        assert (run.folder / "threads-of-mkl").read_text() == "not set\n"


def test_other_options_for_finished_runs_are_an_error(make) -> None:
    execute(plan_of(make()).runs[0])
    status, said = run_study(make(**task(options={"lr": 2})))
    assert status == 1
    assert "was made with other options" in said and "--lr=2" in said


def test_a_run_never_continues_with_other_options(make) -> None:
    file = make()
    process, _ = start(file, "--jobs", "1", STAY_AT="2")
    wait_until(lambda: epochs(file) >= 2, process)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    record = file.parent / "out/counting/lstm/seed-1/study.json"
    before = record.read_text()
    make(**task(options={"lr": 2}))
    run = plan_of(file).runs[0]
    status, said = run_study(file)
    assert status == 1 and f"{run.folder} was made with other options" in said
    assert "--lr=2" in said and "remove the folder to begin again" in said
    with pytest.raises(ValueError, match="was made with other options"):
        execute(run)
    assert record.read_text() == before
    make(**task(options={"skip-damaged": True}))  # which does not change the model
    assert run_study(file)[0] == 0


def test_the_options_of_a_run_without_a_validated_epoch_may_change(make) -> None:
    execute(plan_of(make(models={"bad": {"fail": True}})).runs[2])
    run = plan_of(make(models={"bad": {"lr": 2}})).runs[2]
    assert execute(run) == "finished"


def test_an_option_of_the_model_replaces_that_of_the_task(make) -> None:
    file = make(**task(options={"lr": 1}), models={"slow": {"lr": 0.1}})
    slow = plan_of(file).runs[2]
    execute(slow)
    for same in (task(options={"lr": 7}), task(options={})):  # the model's own lr stays
        assert finished_record(plan_of(make(**same, models={"slow": {"lr": 0.1}})).runs[2])
    for other in (task(options={"lr": 0.1}), task(options={"lr": 1}, data="data")):
        with pytest.raises(ValueError, match="was made with other options"):
            finished_record(plan_of(make(**other, models={"slow": {"lr": 1}})).runs[2])


def test_a_copied_study_is_reported_without_its_data(tmp_path) -> None:
    (tmp_path / "here").mkdir()
    for run in plan_of(writer(tmp_path / "here")(**task(data="corpus"))).runs:
        assert execute(run) == "finished"
    there = (tmp_path / "here").rename(tmp_path / "there")
    study = [str(there / "study.yaml"), "--out", str(there / "out")]
    cli.main(["report", *study])
    with pytest.raises(SystemExit, match=r"counting: data: no folder .*/there/corpus"):
        cli.main(["study", *study])
    writer(there)(**task(data="another"))
    with pytest.raises(SystemExit, match=r"(?s)made with other options.*loses its training"):
        cli.main(["report", *study])


def test_another_corpus_or_recipe_of_the_same_name_is_an_error(make, tmp_path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        writer(tmp_path / version)()
    keys = {"recipe": "v1/recipe.sh", "data": "v1/corpus"}
    first = plan_of(make(tasks={"counting": keys})).runs[0]
    execute(first)
    for changed in ({"recipe": "v2/recipe.sh"}, {"data": "v2/corpus"}):
        run = plan_of(make(tasks={"counting": {**keys, **changed}})).runs[0]
        with pytest.raises(ValueError, match=r"(?s)/v1/.*\nnot\n.*/v2/"):
            finished_record(run)
    assert finished_record(
        plan_of(make(tasks={"counting": {**keys, "data": "./v1/corpus/"}})).runs[0]
    )


def test_records_of_earlier_versions_compare_the_names_of_corpora(make) -> None:
    run = plan_of(make(**task(data="v1/corpus"))).runs[0]
    execute(run)
    record = run.folder / "study.json"
    old = json.loads(record.read_text())
    del old["paths"]
    record.write_text(json.dumps(old))
    assert finished_record(plan_of(make(**task(data="v2/corpus"))).runs[0])
    with pytest.raises(ValueError, match="was made with other options"):
        finished_record(plan_of(make(**task(data="v2/other"))).runs[0])


def test_a_study_that_is_stopped_while_it_prepares_data_leaves_nothing_running(make) -> None:
    file = make()
    recipe = file.parent / "recipe.sh"
    pipe = file.parent / "pipe"  # at its end when no process that prepares is left
    os.mkfifo(pipe)
    slow = f'exec 9>"{pipe}"; echo begun >&9; sleep 300 & wait'
    usual = 'echo prepared >>"$out/prepared"; exit'
    assert usual in RECIPE
    recipe.write_text(RECIPE.replace(usual, slow))
    process, log = start(file)
    with pipe.open("rb", buffering=0) as left:
        assert left.readline() == b"begun\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
        log.seek(0)
        assert "the same command continues the study" in log.read()
        at_end, *_ = select.select([left], [], [], 20)
        assert at_end and left.read() == b""


def test_paths_reach_the_runs_unchanged(make) -> None:
    file = make()
    odd = file.parent / "a\\b, it's {x}=$y \\"
    odd.mkdir()
    for path in (file, file.parent / "recipe.sh"):
        path.rename(odd / path.name)
    assert run_study(odd / file.name)[0] == 0
    assert [state(run) for run in plan_of(odd / file.name).runs] == ["finished", "finished"]


def test_a_dry_run_shows_the_commands_and_makes_nothing(make) -> None:
    file = make()
    status, said = run_study(file, "--dry-run")
    assert status == 0
    assert said.splitlines() == [" ".join(run.command()) for run in plan_of(file).runs]
    assert not (file.parent / "out").exists()


def test_a_dry_run_for_slurm_shows_the_job_that_submitit_would_send(make) -> None:
    file = make(seeds=[1, 2])
    options = ["--launcher", "submitit_slurm", "--jobs", "3", "--dry-run"]
    for option in ("partition=long", "additional_parameters.mail-type=END"):
        options += ["--launcher-option", option]
    status, said = run_study(file, *options)
    assert status == 0
    assert "#SBATCH --array=0-3%3" in said and "#SBATCH --partition=long" in said
    assert "#SBATCH --mail-type=END" in said
    assert "submitit.core._submit" in said
    assert f"# 3: {' '.join(plan_of(file).runs[3].command())}" in said
    assert not (file.parent / "out").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("partitio=long", "write NAME=VALUE; submitit_slurm has the options .*, partition, qos, "),
        ("partition", "write NAME=VALUE; submitit_slurm has"),
        ("setup.first=1", "write NAME=VALUE; submitit_slurm has"),
        ("timeout_min=ten", "Value 'ten' of type 'str' could not be converted to Integer"),
    ],
)
def test_a_wrong_option_of_the_launcher_is_named_before_anything_is_made(
    option, message, make
) -> None:
    file = make()
    status, said = run_study(file, "--launcher", "submitit_slurm", "--launcher-option", option)
    assert status == 1
    assert re.search(f"--launcher-option {option}: {message}", said) and "Traceback" not in said
    assert not (file.parent / "out").exists()


def epochs_in(plan: Plan) -> int:
    """The number of epochs that all runs together have validated."""
    return sum(standing(run).epoch for run in plan.runs)


@pytest.mark.slow
def test_the_small_study_that_is_killed_ends_like_one_that_ran_through(tmp_path) -> None:
    """With real trainings, shortly after 1, 6 and 12 of the 18 epochs."""
    file = tmp_path / "study.yaml"
    study = yaml.safe_load((STUDIES / "small.yaml").read_text())
    study["tasks"]["captions"] = {
        "recipe": str(STUDIES / "captions.sh"),
        "options": {"sentences": 300, "max-epoch": 3, "cpu": True},
    }
    file.write_text(yaml.safe_dump(study))
    tables = []
    for out, kills in (("whole", ()), ("killed", (1, 6, 12))):
        options = ["--jobs", "2", "--out", str(tmp_path / out)]
        plan = read_plan(file, tmp_path / out)
        moments = random.Random(1)
        for epochs in kills:
            process, _ = start(file, *options)
            wait_until(lambda: epochs_in(plan) >= epochs, process, 600)  # noqa: B023
            time.sleep(moments.uniform(0, 1))  # not always while a checkpoint is written
            assert process.poll() is None, "the study was over before it was killed"
            process.kill()
            process.wait()
        status, said = run_study(file, *options)
        assert status == 0, said
        process, _ = start(file, "--out", str(tmp_path / out), command="report")
        assert process.wait(60) == 0
        rows = csv.DictReader((tmp_path / out / "report/captions.csv").open())
        tables.append([{k: v for k, v in row.items() if k != "words_per_second"} for row in rows])
    assert tables[0] == tables[1]
    assert len(tables[0]) == 3 and all(row["test_mean"] for row in tables[0])


def test_the_jobs_of_submitit_go_on_when_one_dies(make) -> None:
    file = make(cells=[], models={"bad": {"die": True}, "good": {"cell": "lstm"}})
    slow = RECIPE.replace('mkdir -p "$run"', 'sleep 3; mkdir -p "$run"')
    dies = "--die) kill -9 $PPID; sleep 9 ;;\n        --fail)"
    (file.parent / "recipe.sh").write_text(slow.replace("--fail)", dies))
    status, said = run_study(
        file, "--launcher", "submitit_local", "--jobs", "2", python=sys.executable
    )
    assert status == 1 and "1 of 2 runs are not finished: counting/bad/seed-1" in said
    assert re.search(r"job \d+ died: ", said) and "Traceback" not in said
    assert state(plan_of(file).runs[1]) == "finished"


def test_the_jobs_of_submitit_on_this_machine_end_with_the_command(make) -> None:
    file = make()
    options = ["--launcher", "submitit_local", "--jobs", "2"]
    process, log = start(file, *options, STAY_AT="2")
    wait_until(lambda: epochs(file) >= 4, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 128 + signal.SIGINT
    log.seek(0)
    assert "stopped; the same command continues the study" in log.read()
    deadline = time.monotonic() + 30
    while any(state(run) == "running" for run in plan_of(file).runs):
        assert time.monotonic() < deadline, "the jobs still run"
        time.sleep(0.1)


def test_an_interrupt_says_that_the_jobs_of_slurm_go_on(monkeypatch) -> None:
    submitit = pytest.importorskip("submitit")
    jobs = [SimpleNamespace(job_id=f"1234_{k}") for k in range(2)]
    monkeypatch.setattr(submitit.AutoExecutor, "map_array", lambda *arguments: jobs)
    said = "the jobs stay in Slurm's queue.*end them first: scancel 1234$"
    with pytest.raises(KeyboardInterrupt, match=said), launch._waiting_for_all("submitit_slurm"):
        submitit.AutoExecutor.map_array(None, [])
        raise KeyboardInterrupt


def test_submitits_jobs_do_the_runs_and_one_that_dies_is_named(make) -> None:
    file = make(models={"bad": {"die": True}})
    one_at_a_time = 'mkdir "$out/one"; trap \'rmdir "$out/one"\' EXIT\nmkdir -p "$run"'
    recipe = RECIPE.replace('mkdir -p "$run"', one_at_a_time)
    dies = "--die) kill -9 $PPID; sleep 9 ;;\n        --fail)"
    (file.parent / "recipe.sh").write_text(recipe.replace("--fail)", dies))
    options = ["--launcher", "submitit_local", "--jobs", "1"]
    status, said = run_study(file, *options, python=sys.executable)
    assert status == 1
    assert "1 of 3 runs are not finished: counting/bad/seed-1" in said
    assert [state(run) for run in plan_of(file).runs][:2] == ["finished", "finished"]
    # on a cluster, jobs may still be queued
    assert list(file.parent.glob("out/.hydra/plan-*"))
