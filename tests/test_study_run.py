"""One run of a study, and the lines that tell of it."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime

import pytest
import torch
from study_recipe import RECIPE, plan_of, task

from fairseq_wsum.machine import processor, version
from fairseq_wsum.study import progress, run
from fairseq_wsum.study.progress import Watch, duration, standing
from fairseq_wsum.study.record import (
    Record,
    finished_record,
    last_lines,
    read_record,
    validations,
)
from fairseq_wsum.study.run import execute, state


class Clock:
    """In place of the module `time`: it is always the same time, until a test changes it."""

    seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def strftime(self, form: str) -> str:
        assert form == "%H:%M:%S"
        return "12:34:56"


def test_a_run_is_recorded_and_not_repeated(write_study) -> None:
    run = plan_of(write_study()).runs[0]
    assert state(run) == "waiting"
    assert execute(run) == "finished"
    assert standing(run).epoch == standing(run).last_epoch == 5
    assert standing(run).perplexity == "5.5"
    record = read_record(run.folder)
    assert record is not None and record.command == run.command() and record.machine
    assert record.version == version()
    (run.folder / "epoch").unlink()
    assert execute(run) == "finished"
    assert not (run.folder / "epoch").exists()


def test_a_run_that_goes_on_with_another_machine_says_so(write_study, monkeypatch) -> None:
    file = write_study(models={"bad": {"fail": True}})
    bad = plan_of(file).runs[2]
    for machine in ("an EPYC", "a Xeon", "a Xeon"):
        monkeypatch.setattr(run, "processor", lambda machine=machine: machine)
        execute(bad)
    record = read_record(bad.folder)
    assert record is not None and record.machine == "an EPYC, then a Xeon"


def test_the_end_of_a_log_is_what_the_failed_process_of_torchrun_said() -> None:
    elastic = "E1126 18:46:56.562000 9025 torch/distributed/elastic/multiprocessing/api.py:1002] "
    failure = f"{elastic}failed (exitcode: 1) local_rank: 0 (pid: 9029) of binary: train.sh\n"
    attempt = "$ recipe.sh --run=here\nerror: {}; try\n$ rm old\n" + failure + 20 * "Traceback\n"
    log = attempt.format("the first") + attempt.format("the second")
    said = "    $ recipe.sh --run=here\n    error: the second; try\n    $ rm old\n"
    assert last_lines(log) == said
    lines = [f"line {number}\n" for number in range(20)]
    assert last_lines("".join(lines)) == "".join(f"    {line}" for line in lines[-12:])


def test_a_run_that_goes_on_with_other_software_says_so() -> None:
    record = Record([], torch="2.2", version="1 (b)")
    record.follow(Record([], torch="2.1", version="1 (a), then 1 (b)"))
    assert (record.torch, record.version) == ("2.1, then 2.2", "1 (a), then 1 (b)")
    record.follow(Record([]))  # of an earlier version, which wrote neither
    assert record.torch == "2.1, then 2.2"


def test_scores_that_were_removed_are_made_again(write_study) -> None:
    run = plan_of(write_study()).runs[0]
    execute(run)
    before = read_record(run.folder)
    (run.folder / "perplexity.json").unlink()
    assert state(run) == "interrupted" and finished_record(run) is None
    assert execute(run) == state(run) == "finished"
    after = read_record(run.folder)
    assert before is not None and after is not None
    assert after.scores == before.scores == ["perplexity.json"]
    assert after.seconds > before.seconds and after.machine == before.machine
    assert after.first_started == before.started <= after.started


def test_the_time_of_an_interrupted_attempt_counts_up_to_its_last_line(write_study) -> None:
    run = plan_of(write_study()).runs[0]
    execute(run)
    record, log = read_record(run.folder), run.folder / "study.log"
    assert record is not None
    record.state, record.started, record.seconds = "running", "2026-01-01T00:00:00", 5000
    record.write(run.folder)  # after earlier attempts of 5000 s, killed after 700 s
    last = datetime(2026, 1, 1, 0, 11, 40).timestamp()
    os.utime(log, (last, last))
    execute(run)
    record = read_record(run.folder)
    assert record is not None and 5700 < record.seconds < 5700 + 60


def test_a_failed_run_says_so_and_is_tried_again(write_study) -> None:
    file = write_study(models={"bad": {"fail": True}})
    run = plan_of(file).runs[2]
    assert execute(run) == state(run) == "failed"
    assert "out of memory" in (run.folder / "study.log").read_text()
    (file.parent / "recipe.sh").write_text(RECIPE.replace("exit 1", "true"))
    assert execute(run) == state(run) == "finished"


def test_a_recipe_that_cannot_start_fails_and_its_log_says_why(write_study) -> None:
    file = write_study()
    (file.parent / "recipe.sh").write_text("echo no interpreter is named\n")
    run = plan_of(file).runs[0]
    assert execute(run) == state(run) == "failed"
    record = read_record(run.folder)
    assert record is not None and record.status == 127
    command, message = (run.folder / "study.log").read_text().splitlines()
    assert command == f"$ {shlex.join(run.command())}"
    assert "Exec format error" in message and str(file.parent / "recipe.sh") in message


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Restore SIGINT: a shell's background job, and thus its pytest, ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_signal_while_a_recipe_starts_stops_it(tmp_path, monkeypatch) -> None:
    processes = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *args, **options) -> None:
            super().__init__(*args, **options)
            processes.append(self)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    before = signal.getsignal(signal.SIGINT)
    with (tmp_path / "log").open("wb") as log, pytest.raises(KeyboardInterrupt):
        run.call(["sleep", "300"], log)
    assert [process.poll() for process in processes] == [-signal.SIGTERM]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("options", "gpus", "threads"),
    [({}, 0, 4), ({}, 2, 4), ({"cpu-processes": 2}, 0, 2)],
    ids=["one process", "one GPU", "two processes"],
)
def test_the_processes_of_two_runs_at_a_time_share_the_cores(
    write_study, monkeypatch, options, gpus, threads
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("fairseq_wsum.study.run.cores", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "a GPU")
    run = plan_of(write_study(**task(options=options))).runs[0]
    execute(run, run.out / "slots", 2)
    assert (run.folder / "environment").read_text() == f"OMP_NUM_THREADS={threads}\n"


@pytest.mark.parametrize(
    ("option", "threads"),
    [({"gpus": 0}, 4), ({"cpu": True}, 4), ({"cpu-processes": 2}, 2)],
    ids=str,
)
def test_a_run_that_stays_on_the_cpu_gets_no_gpu(option, threads, write_study, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("fairseq_wsum.study.run.cores", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "a GPU")
    run = plan_of(write_study(**task(options=option))).runs[0]
    execute(run, run.out / "slots", 2)
    assert (run.folder / "environment").read_text() == f"OMP_NUM_THREADS={threads}\n"
    record = read_record(run.folder)
    assert record is not None and record.machine == processor()


@pytest.mark.parametrize(
    ("number", "gpus", "visible", "given"),
    [(0, 2, None, "0"), (1, 2, None, "1"), (1, 2, "3,5", "5"), (2, 2, "3,5", "3")],
)
def test_a_run_gets_the_gpu_of_its_slot(
    write_study, number, gpus, visible, given, monkeypatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    share = run._share(plan_of(write_study()).runs[0], number, 4, gpus)
    assert share["CUDA_VISIBLE_DEVICES"] == given


def test_two_runs_at_a_time_have_different_slots(tmp_path) -> None:
    with run._slot(tmp_path, 2) as (first, _), run._slot(tmp_path, 2) as (second, _):
        assert {first, second} == {0, 1}
    with run._slot(tmp_path, 2) as (again, _):
        assert again == 0


def test_the_recipe_takes_fairseq_from_the_environment_of_the_command(
    write_study, monkeypatch
) -> None:
    monkeypatch.delenv("VENV", raising=False)
    run = plan_of(write_study()).runs[0]
    execute(run)
    assert f"VENV={sys.prefix}\n" in (run.folder / "study.log").read_text()
    monkeypatch.setenv("VENV", "/mine")
    execute(plan_of(write_study()).runs[1])
    assert "VENV=/mine\n" in (run.out / "no-srnn/seed-1/study.log").read_text()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


def test_a_line_tells_of_each_change_and_of_the_time_left(write_study, clock) -> None:
    plan = plan_of(write_study())
    lines: list[str] = []
    watch = Watch(plan, lines.append)
    execute(plan.runs[0])
    clock.seconds += 10
    watch.look()
    watch.look()
    assert lines == [
        "12:34:56  counting/lstm/seed-1: finished, epoch 5 of 5, validation perplexity 5.5  "
        "[1 of 2 runs finished, about 10 s left]"
    ]


def test_runs_that_failed_before_are_not_done(write_study, clock) -> None:
    file = write_study(models={"bad": {"fail": True}})
    plan = plan_of(file)
    execute(plan.runs[2])
    watch = Watch(plan, print)
    execute(plan.runs[0])
    clock.seconds += 10
    watch.look()
    assert watch.summary() == "1 of 3 runs finished, 1 failed, about 20 s left"


def test_a_run_that_fails_soon_does_not_make_the_others_faster(write_study, clock) -> None:
    file = write_study(models={"bad": {"fail": True}})
    plan = plan_of(file)
    watch = Watch(plan, print)
    execute(plan.runs[2])
    clock.seconds += 1
    watch.look()
    assert watch.summary() == "0 of 3 runs finished, 1 failed"
    execute(plan.runs[0])
    clock.seconds += 9
    watch.look()
    assert watch.summary() == "1 of 3 runs finished, 1 failed, about 10 s left"


def test_a_run_that_fails_again_between_two_looks_is_named(write_study, clock) -> None:
    bad = plan_of(write_study(models={"bad": {"fail": True}})).runs[2]
    execute(bad)
    record = read_record(bad.folder)
    assert record is not None
    record.started = "2026-01-01T00:00:00"
    record.write(bad.folder)
    lines: list[str] = []
    watch = Watch(plan_of(write_study(models={"bad": {"fail": True}})), lines.append)
    execute(bad)
    watch.look()
    assert lines == ["12:34:56  counting/bad/seed-1: failed  [0 of 3 runs finished, 1 failed]"]


def test_the_validation_perplexity_is_that_of_the_first_subset() -> None:
    line = "INFO | {} | epoch 00{} | valid on '{}' subset | loss 7 | ppl {} | wps 9\n"
    lines = [
        (name, epoch, name, epoch + k)
        for epoch in (1, 2)
        for k, name in ((0.5, "valid"), (0.25, "test"))
    ]
    assert validations("".join(line.format(*each) for each in lines)) == [(1, "1.5"), (2, "2.5")]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(40.2, "40 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (11_100, "3 h 05 min")],
)
def test_durations_are_in_seconds_minutes_or_hours(seconds, shown) -> None:
    assert duration(seconds) == shown


def test_what_a_recipe_leaves_behind_is_ended() -> None:
    """It would hold the slot of the run, and the queue would wait for it."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(["sh", "-c", "sleep 600 &"], stdout=pipe, start_new_session=True)
    assert process.wait() == 0
    run._stop(process)
    process.communicate(timeout=60)  # until `sleep`, which has the pipe too, has ended
