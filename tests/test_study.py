"""`fairseq-wsum study`: the plan, one run, and whole studies that are killed, fail or go to Slurm.

Most studies here have a recipe that takes no time: a script that counts epochs in a file, with the
log lines of fairseq, and goes on where it was killed.
"""

import csv
import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import warm
import yaml
from commands import ROOT
from commands import run as output_of

from fairseq_wsum.machine import processor
from fairseq_wsum.study.plan import Plan, Run, read_plan
from fairseq_wsum.study.progress import Watch, standing
from fairseq_wsum.study.run import execute, finished, read_record, state

STUDY = ["-m", "fairseq_wsum.cli"]
WARM = str(warm.environment() / "bin" / "python")  # starts fast, but signals do not reach it

VALID = (
    "2026-01-01 | INFO | valid | epoch 00$epoch | valid on 'valid' subset | loss 7 | ppl $epoch.5"
)
RECIPE = r"""#!/usr/bin/env bash
# Counts to 5 epochs; the perplexity is 100 / seed.
set -eu
for option; do
    case "$option" in
        --run=*) run="${option#*=}" ;;
        --seed=*) seed="${option#*=}" ;;
        --cell=*) cell="${option#*=}" ;;
        --out=*) out="${option#*=}" ;;
        --prepare-only) echo prepared >>"$out/prepared"; exit ;;
        --fail) echo "out of memory"; exit 1 ;;
    esac
done
mkdir -p "$run"
echo "VENV=${VENV-}"
echo "  'max_epoch': 5,"
epoch=$(cat "$run/epoch" 2>/dev/null || echo 0)
while [ "$epoch" -lt 5 ]; do
    while [ "$epoch" -ge "${STAY_AT:-5}" ]; do sleep 0.1; done
    epoch=$((epoch + 1))
    echo "$epoch" >"$run/epoch.partial"
    mv "$run/epoch.partial" "$run/epoch"
    echo "VALID"
done
echo "OMP_NUM_THREADS=${OMP_NUM_THREADS-}" >"$run/environment"
echo "{\"valid\": $((200 / seed)).5, \"test\": $((100 / seed)).5}" >"$run/perplexity.json"
""".replace("VALID", VALID)


@pytest.fixture
def make(tmp_path):
    """Writes a study with the given keys and returns its file."""
    recipe = tmp_path / "recipe.sh"
    recipe.write_text(RECIPE)
    recipe.chmod(0o755)

    def write(**keys) -> Path:
        study = {"tasks": {"counting": {"recipe": "recipe.sh"}}, "cells": ["lstm", "no-srnn"]}
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump({**study, **keys}, sort_keys=False))
        return file

    return write


def plan_of(file: Path) -> Plan:
    return read_plan(file, file.parent / "out")


def start(
    file: Path, *options: str, command: str = "study", python: str = sys.executable, **environment
):
    """Start the command; its output goes to a file, which a worker that is left cannot block."""
    log = (file.parent / "log").open("w+")
    # A shell's background job ignores SIGINT, and under nohup SIGHUP, and so would its children.
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    process = subprocess.Popen(
        [python, *STUDY, command, str(file), "--out", str(file.parent / "out"), *options],
        stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **environment},
        start_new_session=True,
    )  # fmt: skip
    for number, handler in before.items():
        signal.signal(number, handler)
    return process, log


def run_study(file: Path, *options: str, python: str = WARM, **environment) -> tuple[int, str]:
    process, log = start(file, *options, python=python, **environment)
    status = process.wait(300)
    log.seek(0)
    return status, log.read()


# The plan


def test_the_plan_has_every_model_with_every_seed_and_all_models_before_a_second_seed(make) -> None:
    file = make(
        seeds=[3, 4],
        models={"Only the encoder": {"encoder-cell": "no-srnn", "decoder_cell": "lstm"}},
        tasks={"counting": {"recipe": "recipe.sh", "options": {"cpu": True, "lr": 0.5}}},
    )
    plan = plan_of(file)
    out = file.parent.resolve() / "out" / "counting"
    assert [run.name for run in plan.runs] == [
        "counting/lstm/seed-3",
        "counting/no-srnn/seed-3",
        "counting/only-the-encoder/seed-3",
        "counting/lstm/seed-4",
        "counting/no-srnn/seed-4",
        "counting/only-the-encoder/seed-4",
    ]
    assert plan.runs[2].command() == [
        str(file.parent.resolve() / "recipe.sh"),
        f"--out={out}",
        "--cpu",
        "--lr=0.5",
        f"--run={out}/only-the-encoder/seed-3",
        "--seed=3",
        "--encoder-cell=no-srnn",
        "--decoder-cell=lstm",
    ]
    assert plan.tasks[0].baseline == "lstm"


def test_a_task_may_have_its_own_cells_and_seeds(make) -> None:
    tasks = {
        "a": {"recipe": "recipe.sh"},
        "b": {"recipe": "recipe.sh", "cells": ["gru", "sru"], "seeds": [7], "baseline": "sru"},
    }
    plan = plan_of(make(tasks=tasks, cells=["lstm"], seeds=[1, 2]))
    assert [run.name for run in plan.runs] == [
        "a/lstm/seed-1", "a/lstm/seed-2", "b/gru/seed-7", "b/sru/seed-7",
    ]  # fmt: skip
    assert plan.tasks[1].baseline == "sru"


def test_a_cell_of_the_users_own_is_known_to_fairseq_only(make) -> None:
    tasks = {"counting": {"recipe": "recipe.sh", "options": {"user-dir": "mine"}}}
    assert plan_of(make(tasks=tasks, cells=["my-cell"])).runs[0].name == "counting/my-cell/seed-1"
    models = {"mine": {"cell": "my-cell", "user-dir": "mine"}}
    assert plan_of(make(models=models)).runs[2].model.options["cell"] == "my-cell"


def task(**keys) -> dict:
    return {"tasks": {"counting": {"recipe": "recipe.sh", **keys}}}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cells": ["lstm", "no-such"]}, "cells: no cell 'no-such'; choose from lstm, no-srnn"),
        ({"cels": ["lstm"]}, "no key 'cels'; the keys are tasks, cells"),
        (task(option={}), "counting: no key 'option'; the keys are recipe, data"),
        (task(recipe="gone.sh"), "recipe: no file .*gone.sh; the path is relative to"),
        (task(data="gone"), "data: no folder .*gone; the path is relative to"),
        (task(options={"seed": 3}), "options: seed: the study sets this option itself"),
        (task(options={"stop-time-hours": 3}), "each run of a study trains to the end"),
        ({"baseline": ["lstm"]}, r"baseline: no model \['lstm'\]"),
        ({"models": {"prepare.log": {"cell": "lstm"}}}, "the task has prepare.log beside"),
        (task(options={"--lr": 3}), "options: --lr: write the option without dashes"),
        (task(options={"lr": [1, 2]}), "options: lr: write the option without dashes"),
        (task(options={"max-epoch": 1, "max_epoch": 2}), "max_epoch: the option is given twice"),
        ({"seeds": [1, 1]}, "seeds: seed 1 is given twice"),
        ({"seeds": [0]}, r"write positive whole numbers, such as \[1, 2\], not \[0\]"),
        ({"cells": ["lstm", "lstm"]}, "'lstm' and 'lstm' would have one folder, lstm"),
        ({"models": {"No SRNN": {"cell": "sru"}}}, "'no-srnn' and 'No SRNN' would have one folder"),
        ({"models": {"x": {"decoder-cell": "y"}}}, "models: x: decoder-cell: no cell 'y'"),
        ({"models": {"x": 3}}, "models: x: write a mapping"),
        ({"models": {"x": {"feeding": False}}}, "models: x: feeding: no, off and false are one"),
        ({"models": {"Data": {"cell": "lstm"}}}, "the task has data beside its models; choose"),
        ({"baseline": "gru"}, "baseline: no model 'gru'; there are lstm, no-srnn"),
        ({"tasks": {}}, "tasks: name at least one task"),
        ({"tasks": {"a/b": {"recipe": "recipe.sh"}}}, "a task's name has letters"),
        ({"cells": []}, "give cells, such as"),
        (task(published={"source": "x", "values": {"gru": 1}}), "published: values: no key 'gru'"),
        (task(published={"source": "x", "values": {"lstm": "1"}}), "lstm: '1' is not a number"),
    ],
)  # fmt: skip
def test_mistakes_in_the_file_are_named(make, keys, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        plan_of(make(**keys))
    assert "study.yaml" in str(error.value)


def test_text_that_is_no_study_is_not_repeated_in_full(tmp_path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a study\n" * 1000)
    with pytest.raises(ValueError, match="the file: write a mapping") as error:
        plan_of(file)
    assert len(str(error.value)) < 300


def test_a_recipe_that_cannot_be_executed_is_named(make) -> None:
    file = make()
    (file.parent / "recipe.sh").chmod(0o644)
    with pytest.raises(ValueError, match="cannot be executed: run chmod"):
        plan_of(file)


def test_models_may_have_names_in_any_script(make) -> None:
    file = make(models={"ohne Gedächtnis (1)": {"cell": "gru"}, "無門": {"cell": "no-gates"}})
    assert run_study(file)[0] == 0
    runs = plan_of(file).runs[2:]
    assert [run.folder.parent.name for run in runs] == ["ohne-gedächtnis-1", "無門"]
    assert [state(run) for run in runs] == ["finished", "finished"]


def test_a_model_may_take_over_the_options_of_another(make) -> None:
    file = make(cells=[])
    with file.open("a") as study:
        study.write("models:\n  a: &a {cell: gru, lr: 1}\n  b: {<<: *a, lr: 2}\n")
    assert [run.model.options["lr"] for run in plan_of(file).runs] == ["1", "2"]
    assert {run.model.options["cell"] for run in plan_of(file).runs} == {"gru"}


def test_numbers_reach_the_recipe_as_they_are_written(make) -> None:
    file = make(cells=[])
    with file.open("a") as study:
        study.write(
            "models: {a: {cell: gru, lr: 1.0e-5, dropout: 0.10, b: 010, c: 1_000, d: 1:30}}\n"
        )
    assert plan_of(file).runs[0].command()[-5:] == [
        "--lr=1.0e-5", "--dropout=0.10", "--b=010", "--c=1_000", "--d=1:30",
    ]  # fmt: skip


def test_a_key_that_is_there_twice_and_text_that_is_no_yaml_are_errors(tmp_path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("seeds: [1]\nseeds: [2]\n")
    with pytest.raises(ValueError, match="the key 'seeds' is given twice"):
        plan_of(file)
    file.write_text("tasks: [")
    with pytest.raises(ValueError, match="not valid YAML"):
        plan_of(file)


def test_a_mistake_ends_the_command_before_anything_is_made(make) -> None:
    file = make(cells=["no-such"])
    status, said = run_study(file)
    assert status == 1
    assert "no cell 'no-such'" in said and "Traceback" not in said
    assert not (file.parent / "out").exists()


def test_the_example_in_the_documents_is_a_study(tmp_path) -> None:
    (tmp_path / "captions.sh").touch(0o755)
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/studies.md").read_text(), re.S)
    (tmp_path / "study.yaml").write_text(example)
    assert len(plan_of(tmp_path / "study.yaml").runs) == 6


EXAMPLES = sorted((ROOT / "examples/ablation_study").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_recipes_of_the_examples_take_the_options_of_their_studies(file, tmp_path) -> None:
    for task in read_plan(file, tmp_path).tasks:
        run = Run(task, task.models[-1], 1, tmp_path)
        assert " --max-epoch " in output_of(*run.command(), "--dry-run")


# One run


def test_a_run_is_recorded_and_not_repeated(make) -> None:
    run = plan_of(make()).runs[0]
    assert state(run) == "waiting"
    assert execute(run) == "finished"
    assert standing(run).epoch == standing(run).last_epoch == 5
    assert standing(run).perplexity == "5.5"
    record = read_record(run.folder)
    assert record is not None and record.command == run.command() and record.machine
    (run.folder / "epoch").unlink()
    assert execute(run) == "finished"
    assert not (run.folder / "epoch").exists()


def test_a_failed_run_says_so_and_is_tried_again(make) -> None:
    file = make(models={"bad": {"fail": True}})
    run = plan_of(file).runs[2]
    assert execute(run) == state(run) == "failed"
    assert "out of memory" in (run.folder / "study.log").read_text()
    (file.parent / "recipe.sh").write_text(RECIPE.replace("exit 1", "true"))
    assert execute(run) == state(run) == "finished"


def test_each_of_two_runs_at_a_time_gets_half_of_the_cores(make, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    run = plan_of(make()).runs[0]
    execute(run, run.out / "slots", 2)
    assert (run.folder / "environment").read_text() == "OMP_NUM_THREADS=4\n"


def test_a_run_that_stays_on_the_cpu_gets_no_gpu(make, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    run = plan_of(make(**task(options={"gpus": 0}))).runs[0]
    execute(run, run.out / "slots", 2)
    assert (run.folder / "environment").read_text() == "OMP_NUM_THREADS=4\n"
    record = read_record(run.folder)
    assert record is not None and record.machine == processor()


def test_the_recipe_takes_fairseq_from_the_environment_of_the_command(make, monkeypatch) -> None:
    monkeypatch.delenv("VENV", raising=False)
    run = plan_of(make()).runs[0]
    execute(run)
    assert f"VENV={sys.prefix}\n" in (run.folder / "study.log").read_text()
    monkeypatch.setenv("VENV", "/mine")
    execute(plan_of(make()).runs[1])
    assert "VENV=/mine\n" in (run.out / "no-srnn/seed-1/study.log").read_text()


def test_a_line_tells_of_each_change_and_of_the_time_left(make) -> None:
    plan = plan_of(make())
    lines: list[str] = []
    watch = Watch(plan, lines.append)
    watch.begun = time.monotonic() - 10
    execute(plan.runs[0])
    watch.look()
    watch.look()
    assert len(lines) == 1
    assert "counting/lstm/seed-1: finished, epoch 5 of 5, validation perplexity 5.5" in lines[0]
    assert re.search(r"\[1 of 2 runs finished, about 1\d s left\]", lines[0])


def test_runs_that_failed_before_are_not_done(make) -> None:
    file = make(models={"bad": {"fail": True}})
    plan = plan_of(file)
    execute(plan.runs[2])
    watch = Watch(plan, print)
    watch.begun = time.monotonic() - 10
    execute(plan.runs[0])
    watch.look()
    assert re.search("1 of 3 runs finished, 1 failed, about 2. s left", watch.summary())


# Whole studies


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


def test_a_study_that_is_killed_four_times_ends_like_one_that_ran_through(make) -> None:
    file = make(seeds=[1, 2])
    hang_up = signal.SIGHUP  # the terminal is closed, which tells the workers, too
    for sent, epoch in ((signal.SIGKILL, 1), (signal.SIGINT, 2), (hang_up, 3), (signal.SIGTERM, 4)):
        process, log = start(file, "--jobs", "2", STAY_AT=str(epoch))
        plan = plan_of(file)
        while epochs(file) < 2 * epoch:  # of the first two runs
            assert process.poll() is None
            time.sleep(0.05)
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


def epochs(file: Path) -> int:
    """The number of epochs that all runs have done."""
    return sum(int(path.read_text()) for path in file.parent.glob("out/*/*/*/epoch"))


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
    recipe = file.parent / "recipe.sh"
    wait = f'while [ ! -e "{go_on}" ]; do sleep 0.05; done\n'
    recipe.write_text(RECIPE.replace("mkdir -p", wait + "mkdir -p"))
    with (file.parent / "log").open("w") as log:
        subprocess.run(
            ["bash", "-c", 'nohup "$@" & until [ -e "$0" ]; do sleep 0.05; done', begun, *study],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=True,
        )  # fmt: skip
    time.sleep(1)  # time to notice
    go_on.touch()
    deadline = time.monotonic() + 60
    while [state(run) for run in plan_of(file).runs] != ["finished"] * 2:
        assert time.monotonic() < deadline, (file.parent / "log").read_text()
        time.sleep(0.1)


def test_a_closed_terminal_ends_a_study_of_one_run_at_a_time(make) -> None:
    file = make()
    process, log = start(file, "--jobs", "1", STAY_AT="2")
    while epochs(file) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 130
    log.seek(0)
    assert "the same command continues the study" in log.read()
    assert [state(run) for run in plan_of(file).runs] == ["interrupted", "waiting"]


def test_other_options_for_finished_runs_are_an_error(make) -> None:
    execute(plan_of(make()).runs[0])
    status, said = run_study(make(**task(options={"lr": 2})))
    assert status == 1
    assert "was made with other options" in said and "--lr=2" in said


def test_an_option_of_the_model_replaces_that_of_the_task(make) -> None:
    file = make(**task(options={"lr": 1}), models={"slow": {"lr": 0.1}})
    slow = plan_of(file).runs[2]
    execute(slow)
    (file.parent / "data").mkdir()
    for same in (task(options={"lr": 7}), task(options={})):  # the model's own lr stays
        assert finished(plan_of(make(**same, models={"slow": {"lr": 0.1}})).runs[2])
    for other in (task(options={"lr": 0.1}), task(options={"lr": 1}, data="data")):
        with pytest.raises(ValueError, match="was made with other options"):
            finished(plan_of(make(**other, models={"slow": {"lr": 1}})).runs[2])


def test_a_study_that_is_stopped_while_it_prepares_data_leaves_nothing_running(make) -> None:
    file = make()
    recipe = file.parent / "recipe.sh"
    pipe = file.parent / "pipe"  # at its end when no process that prepares is left
    os.mkfifo(pipe)
    slow = f'exec 9>"{pipe}"; echo begun >&9; sleep 300 & wait'
    recipe.write_text(RECIPE.replace('echo prepared >>"$out/prepared"; exit', slow))
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
    status, said = run_study(file, *options, "--launcher-option", "partition=long")
    assert status == 0
    assert "#SBATCH --array=0-3%3" in said and "#SBATCH --partition=long" in said
    assert "submitit.core._submit" in said
    assert f"# 3: {' '.join(plan_of(file).runs[3].command())}" in said
    assert not (file.parent / "out").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("partitio=long", "write NAME=VALUE; submitit_slurm has the options .*, partition, qos, "),
        ("partition", "write NAME=VALUE; submitit_slurm has"),
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


@pytest.mark.slow
def test_the_small_study_that_is_killed_ends_like_one_that_ran_through(tmp_path) -> None:
    """With real trainings, at random moments."""
    file = tmp_path / "study.yaml"
    study = yaml.safe_load((EXAMPLES[0].parent / "small.yaml").read_text())
    study["tasks"]["captions"] = {
        "recipe": str(EXAMPLES[0].parent / "captions.sh"),
        "options": {"sentences": 300, "max-epoch": 3, "cpu": True},
    }
    file.write_text(yaml.safe_dump(study))
    tables = []
    for out, kills in (("whole", 0), ("killed", 3)):
        options = ["--jobs", "2", "--out", str(tmp_path / out)]
        for _ in range(kills):
            process, _ = start(file, *options)
            time.sleep(random.uniform(10, 40))
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
