"""Studies that are stopped, killed or left by their terminal."""

import asyncio
import csv
import json
import os
import random
import select
import signal
import subprocess
import time

import pytest
import yaml
from study_recipe import RECIPE, STUDIES, epochs, plan_of, run_study, start, wait_until

from fairseq_wsum.experiments import program
from fairseq_wsum.experiments.program import UserError
from fairseq_wsum.experiments.studies import study
from fairseq_wsum.experiments.studies.plan import read_plan
from fairseq_wsum.experiments.studies.record import standing, state

HANG_UP = signal.SIGHUP  # the terminal is closed, which tells the workers, too


def test_a_study_that_is_stopped_ends_like_one_that_ran_through(write_study) -> None:
    file = write_study(seeds=[1, 2])
    for epoch, sent in enumerate((signal.SIGTERM, signal.SIGINT, HANG_UP), start=1):
        process, log = start(file, "--jobs", "2", STAY_AT=str(epoch))
        plan = plan_of(file)
        done = 2 * epoch  # of the first two runs
        wait_until(lambda done=done: epochs(file) >= done, process)
        if sent == HANG_UP:
            os.killpg(process.pid, sent)
        else:
            process.send_signal(sent)
        process.wait(600)
        log.seek(0)
        assert "the same command continues the study" in log.read()
        deadline = time.monotonic() + 600
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


def test_a_study_in_the_background_outlives_its_shell(write_study, monkeypatch) -> None:
    """nohup lets it ignore the end of its terminal."""
    plan, done = plan_of(write_study()), []

    async def run_here(runs, jobs) -> None:
        os.kill(os.getpid(), HANG_UP)
        await asyncio.sleep(0.1)
        done.extend(runs)

    monkeypatch.setattr(study, "run_here", run_here)
    before = signal.signal(HANG_UP, signal.SIG_IGN)
    asyncio.run(study.do(plan, plan.runs, 1, None))
    signal.signal(HANG_UP, before)
    assert done == plan.runs


def test_other_programs_in_the_background_outlive_their_shell(monkeypatch) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    before = signal.signal(HANG_UP, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        program.run(lambda: os.kill(os.getpid(), HANG_UP))
        with pytest.raises(SystemExit, match="143"):
            program.run(lambda: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        for number, handler in zip((HANG_UP, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def test_a_study_that_is_stopped_while_it_prepares_data_leaves_nothing_running(write_study) -> None:
    file = write_study()
    recipe = file.parent / "recipe.sh"
    pipe = file.parent / "pipe"  # at its end when no process that prepares is left
    os.mkfifo(pipe)
    slow = f'exec 9>"{pipe}"; echo begun >&9; sleep 900 & wait'
    usual = 'echo prepared >>"$out/prepared"; exit'
    assert usual in RECIPE
    recipe.write_text(RECIPE.replace(usual, slow))
    opened = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # before anybody writes
    process, log = start(file)
    with os.fdopen(opened, "rb", buffering=0) as left:
        begun, *_ = select.select([left], [], [], 600)
        assert begun and left.readline() == b"begun\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(600) == 130
        log.seek(0)
        assert "the same command continues the study" in log.read()
        at_end, *_ = select.select([left], [], [], 600)
        assert at_end and left.read() == b""


def test_an_interrupt_while_a_recipe_starts_leaves_nothing_running(
    write_study, monkeypatch
) -> None:
    file, started = write_study(), []
    (file.parent / "recipe.sh").write_text("#!/bin/sh\nexec sleep 900\n")

    def interrupted(*given, **named):
        started.append(subprocess_popen(*given, **named))
        os.kill(os.getpid(), signal.SIGTERM)
        return started[0]

    subprocess_popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", interrupted)
    plan = plan_of(file)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(study.do(plan, plan.runs, 1, None))
    assert started[0].wait(60) == -signal.SIGTERM


@pytest.mark.parametrize("signal_or_error", ["signal", "error"])
def test_a_study_that_stops_waits_for_all_of_its_recipes(
    signal_or_error, write_study, monkeypatch
) -> None:
    """Here, the first recipe ends at once, and the second needs a moment."""
    plan, ended = plan_of(write_study()), []

    async def execute(run, slot) -> None:
        try:
            await asyncio.sleep(0.1 if slot == 0 else 900)
            if signal_or_error == "error":
                raise UserError("other options")
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(900)
        finally:
            await asyncio.sleep(0.3 * slot)
            ended.append(slot)

    monkeypatch.setattr(study, "share", lambda run, slot, jobs: slot)
    monkeypatch.setattr(study, "execute", execute)
    expected = asyncio.CancelledError if signal_or_error == "signal" else UserError
    with pytest.raises(expected):
        asyncio.run(study.do(plan, plan.runs, 2, None))
    assert ended == [0, 1]


@pytest.mark.slow
def test_the_small_study_that_is_killed_ends_like_one_that_ran_through(tmp_path) -> None:
    """With real trainings, shortly after 1, 6 and 12 of the 18 epochs."""
    file = tmp_path / "study.yaml"
    keys = yaml.safe_load((STUDIES / "small.yaml").read_text())
    keys["tasks"]["captions"] = {
        "recipe": str(STUDIES / "captions.sh"),
        "options": {"sentences": 300, "max-epoch": 3, "cpu": True},
    }
    file.write_text(yaml.safe_dump(keys))
    tables = []
    for out, kills in (("whole", ()), ("killed", (1, 6, 12))):
        options = ["--jobs", "2", "--out", str(tmp_path / out)]
        runs = read_plan(file, tmp_path / out).runs
        moments = random.Random(1)
        for count in kills:
            process, _ = start(file, *options)
            wait_until(lambda: sum(standing(run).epoch for run in runs) >= count, process)  # noqa: B023
            time.sleep(moments.uniform(0, 1))  # not always while a checkpoint is written
            assert process.poll() is None, "the study was over before it was killed"
            process.kill()
            process.wait()
        status, said = run_study(file, *options)
        assert status == 0, said
        assert run_study(file, "--out", str(tmp_path / out), command="report")[0] == 0
        rows = csv.DictReader((tmp_path / out / "report/captions.csv").open())
        tables.append([{k: v for k, v in row.items() if k != "words_per_second"} for row in rows])
    assert tables[0] == tables[1]
    assert len(tables[0]) == 6 and all(row["test_mean"] for row in tables[0])  # BLEU and chrF2
