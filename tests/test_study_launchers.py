"""Studies with hydra's launchers: joblib, and submitit for Slurm."""

import os
import pickle
import re
import signal
import sys
import time
from types import SimpleNamespace

import pytest
from hydra.version import VersionBase
from omegaconf import OmegaConf
from study_recipe import (
    RECIPE,
    epochs,
    plan_of,
    run_study,
    start,
    wait_until,
)

from fairseq_wsum import cli
from fairseq_wsum.study import commands, launch
from fairseq_wsum.study.plan import Plan, Run
from fairseq_wsum.study.record import Record
from fairseq_wsum.study.run import execute, state


@pytest.mark.parametrize(
    ("launcher", "jobs"), [("joblib", 2), ("submitit_local", 2), ("submitit_slurm", 9)]
)
def test_runs_share_the_cores_of_this_machine(launcher, jobs, write_study, monkeypatch) -> None:
    given = []
    monkeypatch.setattr(commands, "_stop_on_signals", lambda: None)
    monkeypatch.setattr(commands.launch, "launch", lambda *arguments: given.append(arguments[3]))
    file = write_study()
    options = ["--out", str(file.parent / "out"), "--launcher", launcher, "--jobs", "9"]
    with pytest.raises(SystemExit, match="2 of 2 runs are not finished"):
        cli.main(["study", str(file), *options])
    assert given == [jobs]


@pytest.mark.parametrize(("launcher", "jobs"), [("joblib", 2), ("submitit_slurm", 1)])
def test_the_last_run_keeps_its_share_of_the_cores(
    launcher, jobs, write_study, monkeypatch
) -> None:
    """Slurm gives each run its own."""
    given = []
    monkeypatch.setattr(commands, "_stop_on_signals", lambda: None)
    monkeypatch.setattr(commands, "_default_jobs", lambda plan: 9)
    monkeypatch.setattr(commands.launch, "launch", lambda *arguments: given.append(arguments[3]))
    file = write_study()
    execute(plan_of(file).runs[0])
    with pytest.raises(SystemExit, match="1 of 2 runs are not finished"):
        cli.main(["study", str(file), "--out", str(file.parent / "out"), "--launcher", launcher])
    assert given == [jobs]


def test_a_run_that_failed_before_is_tried_although_a_worker_died(write_study, monkeypatch) -> None:
    """The worker died before its turn came, so its record is of an earlier study."""
    file = write_study()
    first, second = plan_of(file).runs
    tries = []

    def put(run: Run, **fields) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        Record(run.command(), **fields).write(run.folder)

    def launch_with_a_death(plan: Plan, runs: list[Run], *_: object) -> None:
        tries.append([run.name for run in runs])
        if len(tries) == 1:
            put(first, state="running", started="2026-01-02T00:00:00")
        else:
            for run in runs:
                execute(run)

    put(second, state="failed", started="2026-01-01T00:00:00")
    monkeypatch.setattr(commands, "_stop_on_signals", lambda: None)
    monkeypatch.setattr(commands.launch, "launch", launch_with_a_death)
    cli.main(["study", str(file), "--out", str(file.parent / "out")])
    assert tries == [[first.name, second.name]] * 2
    assert state(first) == state(second) == "finished"


def test_a_recipe_has_no_variables_of_joblib(write_study) -> None:
    """joblib gives its workers numbers of threads, which would overrule the user's."""
    file = write_study()
    variables = {"OMP_NUM_THREADS": "1"}
    assert run_study(file, "--jobs", "2", **variables)[0] == 0
    for run in plan_of(file).runs:
        assert (run.folder / "environment").read_text() == "OMP_NUM_THREADS=1\n"
        assert (run.folder / "threads-of-mkl").read_text() == "not set\n"


def test_a_dry_run_for_slurm_shows_the_job_that_submitit_would_send(write_study) -> None:
    file = write_study(seeds=[1, 2])
    options = ["--launcher", "submitit_slurm", "--jobs", "3", "--dry-run"]
    for option in ("partition=long", "additional_parameters.mail-type=END"):
        options += ["--launcher-option", option]
    status, said = run_study(file, *options)
    assert status == 0
    assert "#SBATCH --array=0-3%3" in said and "#SBATCH --partition=long" in said
    assert "#SBATCH --mail-type=END" in said
    assert "submitit.core._submit" in said
    assert f"{file.parent}/out/.hydra/" in said
    assert f"# 3: {' '.join(plan_of(file).runs[3].command())}" in said
    assert not (file.parent / "out").exists()


def test_a_dry_run_checks_the_options_of_the_launcher(write_study) -> None:
    with pytest.raises(SystemExit, match="--launcher-option wrong=1: write NAME=VALUE; joblib has"):
        cli.main(["study", str(write_study()), "--dry-run", "--launcher-option", "wrong=1"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("partitio=long", "write NAME=VALUE; submitit_slurm has the options .*, partition, qos, "),
        ("partition", "write NAME=VALUE; submitit_slurm has"),
        ("array_parallelism=9", "the study sets it; give --jobs N"),
        ("setup.first=1", "write NAME=VALUE; submitit_slurm has"),
        ("partition=a,b", r".* \(quote a value with a comma: partition='a,b'\)"),
        ("timeout_min=ten", "Value 'ten' of type 'str' could not be converted to Integer"),
    ],
)
def test_a_wrong_option_of_the_launcher_is_named_before_anything_is_made(
    option, message, write_study
) -> None:
    file = write_study()
    status, said = run_study(file, "--launcher", "submitit_slurm", "--launcher-option", option)
    assert status == 1
    assert re.search(f"--launcher-option {option}: {message}", said) and "Traceback" not in said
    assert not (file.parent / "out").exists()


def test_the_jobs_of_submitit_go_on_when_one_dies(write_study) -> None:
    file = write_study(cells=[], models={"bad": {"die": True}, "good": {"cell": "lstm"}})
    slow = RECIPE.replace('mkdir -p "$run"', 'sleep 3; mkdir -p "$run"')
    dies = "--die) kill -9 $PPID; sleep 9 ;;\n        --fail)"
    (file.parent / "recipe.sh").write_text(slow.replace("--fail)", dies))
    status, said = run_study(
        file, "--launcher", "submitit_local", "--jobs", "2", python=sys.executable
    )
    assert status == 1 and "1 of 2 runs are not finished: counting/bad/seed-1" in said
    assert re.search(r"job \d+ died: ", said) and "Traceback" not in said
    assert state(plan_of(file).runs[1]) == "finished"


def test_the_jobs_of_submitit_on_this_machine_end_with_the_command(write_study) -> None:
    file = write_study()
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


@pytest.mark.parametrize("chosen", [None, "2,3"])
def test_a_job_on_this_machine_sees_the_gpus_that_the_user_has_chosen(
    chosen, write_study, tmp_path, monkeypatch
) -> None:
    plan, seen = plan_of(write_study()), []
    (tmp_path / "plan").write_bytes(pickle.dumps((plan, set(os.environ), chosen)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")  # as submitit sets it
    look = lambda *_: seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))  # noqa: E731
    monkeypatch.setattr(launch, "execute", look)
    run = {"plan": str(tmp_path / "plan"), "run": plan.runs[0].name, "jobs": 2}
    launch.job(OmegaConf.create({**run, "launcher": "submitit_local"}))
    assert seen == [chosen]


def test_an_interrupt_says_that_the_jobs_of_slurm_go_on(monkeypatch) -> None:
    submitit = pytest.importorskip("submitit")
    jobs = [SimpleNamespace(job_id=f"1234_{k}") for k in range(2)]
    monkeypatch.setattr(submitit.AutoExecutor, "map_array", lambda *arguments: jobs)
    said = "the jobs stay in Slurm's queue.*end them first: scancel 1234$"
    with pytest.raises(KeyboardInterrupt, match=said), launch._waiting_for_all("submitit_slurm"):
        submitit.AutoExecutor.map_array(None, [])
        raise KeyboardInterrupt


@pytest.mark.slow
def test_submitits_jobs_do_the_runs_and_one_that_dies_is_named(write_study) -> None:
    file = write_study(models={"bad": {"die": True}})
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


def test_checking_a_launcher_leaves_hydra_as_it_was() -> None:
    """fairseq's commands, in the same process, cannot run under a newer version base."""
    before = VersionBase.instance().version_base
    launch.check_launcher("joblib", ["verbose=5"])
    assert VersionBase.instance().version_base is before
