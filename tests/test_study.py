"""`fairseq-wsum study`: what it does, refuses and keeps."""

import asyncio
import os
import re
import signal
from datetime import datetime

import pytest
import submitit
import torch
from study_recipe import RECIPE, plan_of, run_study, task

from fairseq_wsum import cli
from fairseq_wsum.experiments.locks import lock
from fairseq_wsum.experiments.program import UserError
from fairseq_wsum.experiments.studies import run as run_module
from fairseq_wsum.experiments.studies import study
from fairseq_wsum.experiments.studies.plan import Run
from fairseq_wsum.experiments.studies.record import LOCK, last_lines, read_record, standing, state
from fairseq_wsum.experiments.studies.run import default_jobs, execute, share
from fairseq_wsum.experiments.studies.study import watched
from fairseq_wsum.experiments.training_log import validations
from fairseq_wsum.machine import version


def do(run: Run, **variables: str) -> str:
    """Do a run, and return the state that it ends in."""
    asyncio.run(execute(run, variables))
    return state(run)


# The command


def test_a_study_does_all_runs_and_leaves_one_with_an_error_behind(write_study) -> None:
    file = write_study(models={"bad": {"fail": True}}, seeds=[1, 2])
    status, said = run_study(file, "--jobs", "2")
    assert status == 1
    bad = "counting/bad/seed-1 (failed), counting/bad/seed-2 (failed)"
    assert f"2 of 6 runs are not finished: {bad}" in said
    assert "out of memory" in said and "Traceback" not in said
    assert re.search(r"lstm/seed-1: finished, epoch 5 of 5, validation perplexity 5.5  \[", said)
    states = [state(run) for run in plan_of(file).runs]
    assert states == ["finished", "finished", "failed"] * 2
    assert (file.parent / "out/counting/prepared").read_text() == "prepared\n"

    status, said = run_study(file, command="report")
    assert status == 0 and re.search(r"\| lstm +\|.* 75\.5 ± 35\.4 \|", said)
    assert "out of memory" in (file.parent / "out/report/report.md").read_text()


def test_nothing_is_trained_if_the_data_cannot_be_prepared(write_study) -> None:
    file = write_study()
    status, said = run_study(file, NO_DATA="1")
    assert status == 1 and "Traceback" not in said
    assert "counting: the data could not be prepared; no training was started" in said
    assert "no network" in said
    assert [state(run) for run in plan_of(file).runs] == ["waiting", "waiting"]


def test_data_are_prepared_for_tasks_with_runs_to_do_only(write_study) -> None:
    file = write_study(tasks={name: {"recipe": "recipe.sh"} for name in ("done", "open")})
    for run in plan_of(file).runs[:2]:
        do(run)
    assert run_study(file)[0] == 0
    assert [path.parent.name for path in file.parent.glob("out/*/prepared")] == ["open"]


def test_two_studies_do_not_prepare_one_folder_at_a_time(write_study) -> None:
    plan = plan_of(write_study())
    folder = plan.out / "counting"
    folder.mkdir(parents=True)
    with lock(folder / LOCK), pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(study.prepare(plan.runs), 0.1))
    assert not (folder / "prepared").exists()
    asyncio.run(study.prepare(plan.runs))
    assert (folder / "prepared").read_text() == "prepared\n"


def test_a_dry_run_shows_the_commands_of_what_is_left(write_study, capsys) -> None:
    file = write_study()
    first, second = plan_of(file).runs
    do(first)
    before = sorted(file.parent.rglob("*"))
    cli.main(["study", str(file), "--out", str(file.parent / "out"), "--dry-run"])
    assert capsys.readouterr().out.splitlines() == [" ".join(second.command())]
    assert sorted(file.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("study", ["none.yaml"], "No such file or directory: .*none.yaml"),
        ("report", ["study.yaml"], "no folder .*/studies/study: give the --out of `fairseq-wsum"),
        ("study", ["study.yaml", "--slurm"], 'Could not detect "srun"'),
    ],
)
def test_mistakes_are_named_before_anything_is_made(
    command, arguments, message, write_study, monkeypatch
) -> None:
    folder = write_study().parent
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit, match=message):
        cli.main([command, *arguments])
    assert sorted(folder.rglob("*")) == before


# A run and its record


def test_a_run_is_recorded_and_not_repeated(write_study) -> None:
    run = plan_of(write_study()).runs[0]
    assert state(run) == "waiting"
    assert do(run) == "finished"
    where = standing(run)
    assert (where.epoch, where.last_epoch, where.perplexity) == (5, 5, "5.5")
    record = read_record(run)
    assert record is not None and record.command == run.command() and record.machine
    assert record.version == version() and record.scores == ["perplexity.json"]
    (run.folder / "epoch").unlink()
    assert do(run) == "finished"
    assert not (run.folder / "epoch").exists()


def test_a_failed_run_is_tried_again(write_study, monkeypatch) -> None:
    file = write_study(models={"bad": {"fail": True}})
    run = plan_of(file).runs[2]
    for processor in ("an EPYC", "a Xeon", "a Xeon"):
        monkeypatch.setattr(run_module, "processor", lambda processor=processor: processor)
        assert do(run) == "failed"
    assert "out of memory" in (run.folder / "study.log").read_text()
    (file.parent / "recipe.sh").write_text(RECIPE.replace("exit 1", "true"))
    assert do(run) == "finished"
    record, torch_ = read_record(run), f", torch {torch.__version__}"
    assert record is not None and record.machine == f"an EPYC{torch_}, then a Xeon{torch_}"


def test_a_recipe_that_leaves_no_scores_fails(write_study) -> None:
    file = write_study()
    (file.parent / "recipe.sh").write_text(RECIPE.replace("perplexity.json", "other.json"))
    run = plan_of(file).runs[0]
    assert do(run) == "failed"
    assert "error: the recipe left no" in (run.folder / "study.log").read_text()


def test_a_recipe_that_cannot_start_fails_and_its_log_says_why(write_study) -> None:
    file = write_study()
    (file.parent / "recipe.sh").write_text("echo no interpreter is named\n")
    run = plan_of(file).runs[0]
    assert do(run) == "failed"
    command, message = (run.folder / "study.log").read_text().splitlines()
    assert command.startswith("$ ") and "Exec format error" in message


def test_scores_that_were_removed_are_made_again(write_study) -> None:
    run = plan_of(write_study()).runs[0]
    do(run)
    before = read_record(run)
    (run.folder / "perplexity.json").unlink()
    assert state(run) == "interrupted"
    assert do(run) == "finished"
    after = read_record(run)
    assert before is not None and after is not None
    assert after.scores == before.scores and after.seconds > before.seconds
    assert after.began == before.began <= after.started


def test_the_time_of_an_interrupted_attempt_counts_up_to_its_last_line(write_study) -> None:
    run = plan_of(write_study()).runs[0]
    do(run)
    record, log = read_record(run), run.folder / "study.log"
    assert record is not None
    record.state, record.started, record.seconds = "running", "2026-01-01T00:00:00", 5000
    record.write(run.folder)  # after earlier attempts of 5000 s, killed after 700 s
    last = datetime(2026, 1, 1, 0, 11, 40).timestamp()
    os.utime(log, (last, last))
    do(run)
    record = read_record(run)
    assert record is not None and 5700 < record.seconds < 5700 + 60


def test_only_a_run_that_has_not_trained_may_have_other_options(write_study) -> None:
    bad = {"bad": {"fail": True}}
    run = plan_of(write_study(models=bad)).runs[2]
    assert do(run) == "failed"
    run = plan_of(write_study(models=bad, **task(options={"lr": 2}))).runs[2]
    assert do(run) == "failed"
    with (run.folder / "study.log").open("a") as log:
        log.write("| epoch 001 | valid on 'valid' subset | loss 7 | ppl 1.5\n")
    for command in ("study", "report"):
        status, said = run_study(write_study(models=bad), command=command)
        assert status == 1
        assert "than those of the study's file: lr is 2 there, absent now. Restore the" in said


def test_options_without_effect_may_change_and_the_study_may_move(write_study, tmp_path) -> None:
    file = write_study()
    do(plan_of(file).runs[0])
    write_study(**task(options={"num-workers": 2}))
    moved = file.parent.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
    assert read_record(plan_of(moved / file.name).runs[0])


def test_the_end_of_a_log_is_that_of_the_last_attempt() -> None:
    attempt = "$ recipe.sh --run=here\nerror: {}; try\n$ rm old\n"
    log = attempt.format("the first") + attempt.format("the second")
    said = "    $ recipe.sh --run=here\n    error: the second; try\n    $ rm old\n"
    assert last_lines(log) == said
    lines = [f"line {number}\n" for number in range(20)]
    assert last_lines("".join(lines)) == "".join(f"    {line}" for line in lines[-12:])


def test_the_validation_perplexity_is_that_of_the_first_subset() -> None:
    line = "INFO | {} | epoch 00{} | valid on '{}' subset | loss 7 | ppl {} | wps 9\n"
    lines = [
        (name, epoch, name, f"{epoch + k}e+16")
        for epoch in (1, 2)
        for k, name in ((0.5, "valid"), (0.25, "test"))
    ]
    found = validations("".join(line.format(*each) for each in lines))
    assert found == [(1, "1.5e+16"), (2, "2.5e+16")]


def test_a_study_that_waits_for_another_can_be_stopped(write_study) -> None:
    run, _ = plan_of(write_study()).runs
    run.folder.mkdir(parents=True)
    with lock(run.folder / LOCK), pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(execute(run), 0.1))
    assert state(run) == "waiting"


# The cores and GPUs


def test_the_recipe_has_the_environment_of_the_command(write_study, monkeypatch) -> None:
    monkeypatch.delenv("VENV", raising=False)
    first, second = plan_of(write_study()).runs
    do(first)
    assert f"VENV={run_module.sys.prefix}\n" in (first.folder / "study.log").read_text()
    monkeypatch.setenv("VENV", "/mine")
    do(second, OMP_NUM_THREADS="3")
    assert "VENV=/mine\n" in (second.folder / "study.log").read_text()
    assert (second.folder / "environment").read_text() == "OMP_NUM_THREADS=3\n"


SHARES = [  # options, GPUs, the user's choice; the GPU of slot 1, threads, runs at a time
    ({}, 0, None, None, "4", 8),
    ({"cpu-processes": 2}, 0, None, None, "2", 4),
    ({}, 2, None, "1", "4", 2),
    ({}, 2, "3,5", "5", "4", 2),
    ({}, 1, "3", "3", "4", 1),
    ({"gpus": 2}, 4, "3,5,6,7", "6,7", "4", 2),
    ({"gpus": 2}, 1, "3", None, "4", 1),  # the recipe reports this
    ({}, 4, "3,5,6,7", "6", "4", 4),  # beside a run of two GPUs in slot 0
    ({"gpus": 0}, 2, None, None, "4", 8),
    ({"cpu": True}, 2, None, None, "4", 8),
]


@pytest.mark.parametrize(("options", "gpus", "visible", "gpu", "threads", "jobs"), SHARES)
def test_runs_share_the_machine(
    options, gpus, visible, gpu, threads, jobs, write_study, monkeypatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(run_module, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    runs = plan_of(write_study(**task(options=options))).runs
    given = share(runs[0], 1, 2)
    assert (given.get("CUDA_VISIBLE_DEVICES"), given["OMP_NUM_THREADS"]) == (gpu, threads)
    assert default_jobs(runs) == jobs


def test_runs_at_the_same_time_have_slots_of_their_own(write_study, monkeypatch) -> None:
    runs, slots = plan_of(write_study(seeds=[1, 2])).runs, []

    async def do(run, slot) -> None:
        slots.append(slot)
        await asyncio.sleep(0)

    monkeypatch.setattr(study, "share", lambda run, slot, jobs: slot)
    monkeypatch.setattr(study, "execute", do)
    asyncio.run(study.run_here(runs, 2))
    assert len(runs) == 4 and sorted(slots[:2]) == sorted(slots[2:]) == [0, 1]


def test_a_study_that_goes_on_shares_the_cores_as_before(write_study, monkeypatch) -> None:
    file, left = write_study(), []
    do(plan_of(file).runs[0])

    async def run_here(runs, jobs) -> None:
        left.append((len(runs), jobs))

    monkeypatch.setattr(study, "run_here", run_here)
    with pytest.raises(SystemExit):
        cli.main(["study", str(file), "--out", str(file.parent / "out"), "--jobs", "8"])
    assert left == [(1, 2)]


def test_the_users_own_number_of_threads_is_kept(write_study, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert "OMP_NUM_THREADS" not in share(plan_of(write_study()).runs[0], 0, 2)


# Progress


def test_a_line_tells_of_each_change_and_of_the_time_left(write_study, monkeypatch) -> None:
    plan = plan_of(write_study(models={"bad": {"fail": True}}))
    lines: list[str] = []
    monkeypatch.setattr(study.time, "strftime", lambda form: "12:34:56")
    monkeypatch.setattr(study, "duration", lambda seconds: "a while")

    async def work() -> None:
        await execute(plan.runs[0])
        await execute(plan.runs[2])

    asyncio.run(watched(plan, work(), lines.append, interval=3600))
    lstm = "lstm/seed-1: finished, epoch 5 of 5, validation perplexity 5.5"
    assert lines == [
        f"12:34:56  counting/{run}  [1 of 3 runs finished, 1 failed, about a while left]"
        for run in (lstm, "bad/seed-1: failed")
    ]


# Slurm


def test_jobs_of_submitit_do_the_runs_and_one_that_dies_is_named(write_study, capfd) -> None:
    """submitit runs them on this machine; no cluster was available."""
    file = write_study(cells=["lstm"], models={"bad": {"die": True}})
    dies = "--die) kill -9 $PPID; exit 1 ;;\n        --fail)"
    (file.parent / "recipe.sh").write_text(RECIPE.replace("--fail)", dies))
    plan = plan_of(file)
    executor = submitit.LocalExecutor(plan.out / ".slurm", max_num_timeout=2)
    executor.update_parameters(timeout_min=5)
    asyncio.run(study.submit(plan.runs, executor))
    assert re.search(r"job \d+ died: ", capfd.readouterr().err)
    assert [state(run) for run in plan.runs] == ["finished", "interrupted"]


def test_options_of_slurm_are_sbatchs(write_study, tmp_path, monkeypatch) -> None:
    """With a program of the name of Slurm's, which submitit looks for."""
    (tmp_path / "srun").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    plan = plan_of(write_study())
    given = ["partition=gpu", "time=600", "max_num_timeout=5", "gpus_per_node=1"]
    executor = study.slurm(plan, [*given, "additional_parameters.mail-type=END"], 3)
    assert executor.max_num_timeout == 5
    assert executor.parameters == {
        "job_name": "study",
        "array_parallelism": 3,
        "partition": "gpu",
        "time": 600,
        "gpus_per_node": 1,
        "additional_parameters": {"mail-type": "END"},
    }
    with pytest.raises(UserError, match=r"Unavailable parameter.*partitio"):
        study.slurm(plan, ["partitio=gpu"], 1)


def test_an_interrupt_says_that_the_jobs_of_slurm_go_on(write_study, monkeypatch) -> None:
    class Waiting(submitit.LocalJob):
        def done(self, force_check: bool = False) -> bool:
            os.kill(os.getpid(), signal.SIGTERM)
            return False

    plan = plan_of(write_study())
    executor = submitit.LocalExecutor(plan.out)
    monkeypatch.setattr(executor, "map_array", lambda *_: [Waiting(plan.out, "1234_0")])
    with pytest.raises(asyncio.CancelledError, match=r"stay in Slurm's queue.*: scancel 1234$"):
        asyncio.run(study.do(plan, [], 1, executor))
