"""`fairseq-wsum study` as a command: what it does, refuses and keeps."""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import threading
from pathlib import Path

import pytest
from study_recipe import (
    RECIPE,
    WARM,
    epochs,
    plan_of,
    run_study,
    start,
    task,
    wait_until,
    writer,
)

from fairseq_wsum import cli
from fairseq_wsum.study import commands
from fairseq_wsum.study.plan_file import read_plan
from fairseq_wsum.study.record import finished_record, read_record
from fairseq_wsum.study.run import LOCK, execute, hold, state


def test_a_study_does_all_runs_and_leaves_one_with_an_error_behind(write_study) -> None:
    file = write_study(models={"bad": {"fail": True}}, seeds=[1, 2])
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


def test_nothing_is_trained_if_the_data_cannot_be_prepared(write_study) -> None:
    file = write_study()
    status, said = run_study(file, NO_DATA="1")
    assert status == 1 and "Traceback" not in said
    assert "counting: the data could not be prepared; no training was started" in said
    assert "no network" in said
    assert [state(run) for run in plan_of(file).runs] == ["waiting", "waiting"]


def test_a_damaged_record_is_named_with_the_cure(write_study) -> None:
    file = write_study()
    run = plan_of(file).runs[0]
    run.folder.mkdir(parents=True)
    (run.folder / "study.json").write_text('{"command": ')
    status, said = run_study(file)
    assert status == 1 and "Traceback" not in said
    assert re.search(r"study\.json is damaged .*; to repeat the run, remove the folder", said)


def test_a_record_of_a_later_version_is_read(write_study) -> None:
    run = plan_of(write_study()).runs[0]
    execute(run)
    path = run.folder / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": 1}))
    assert finished_record(run)


def test_wrong_paths_are_named_with_the_cure(write_study, tmp_path) -> None:
    file = str(write_study())
    for command, path in (("study", "none.yaml"), ("report", tmp_path)):
        with pytest.raises(
            SystemExit, match=f"{path}: no such file; give the YAML file of a study"
        ):
            cli.main([command, str(path)])
        with pytest.raises(SystemExit, match=f"--out {file} is a file: give a folder"):
            cli.main([command, file, "--out", file])
    with pytest.raises(SystemExit, match=r"--out /proc/x: .*; give another folder"):
        cli.main(["study", file, "--out", "/proc/x"])
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/m\xfc")
    with pytest.raises(SystemExit, match="the path is not UTF-8"):
        cli.main(["study", file, "--out", odd])


@pytest.mark.parametrize("name", ["counting", "report"])
def test_a_file_in_the_place_of_a_folder_is_named(write_study, tmp_path, name) -> None:
    file, out = write_study(), tmp_path / "results"
    out.mkdir()
    (out / name).write_text("mine")
    for command in ("study", "report"):
        with pytest.raises(SystemExit, match=f"{out / name} is a file, where this study has a"):
            cli.main([command, str(file), "--out", str(out)])


def test_by_default_processes_and_runs_share_the_cores(write_study, monkeypatch) -> None:
    monkeypatch.setattr(commands, "cores", lambda: 8)
    on_cpu = task(options={"cpu-processes": 3})
    for gpus, keys, jobs in (
        (0, {}, 8),
        (4, {}, 4),
        (4, task(options={"gpus": 0}), 8),
        (4, on_cpu, 2),
    ):
        monkeypatch.setattr(commands.torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert commands._default_jobs(plan_of(write_study(**keys))) == jobs


def test_a_folder_that_hydra_would_misread_is_refused(write_study, tmp_path) -> None:
    folder = tmp_path / "${HOME}"
    folder.mkdir()
    file = write_study().rename(folder / "study.yaml")
    (tmp_path / "recipe.sh").rename(folder / "recipe.sh")
    status, said = run_study(file)
    assert status == 1 and f"--out {folder}/out: hydra reads" in said
    assert "give a path without it" in said
    assert {path.name for path in folder.iterdir()} == {"study.yaml", "recipe.sh", "log"}


def test_a_study_keeps_to_the_file_that_it_has_read(write_study) -> None:
    file = write_study()
    plan = plan_of(file)
    edits = 'echo "tasks: [" >"${0%/*}/study.yaml"\nmkdir -p "$run"'
    (file.parent / "recipe.sh").write_text(RECIPE.replace('mkdir -p "$run"', edits))
    status, said = run_study(file, "--jobs", "1")
    assert status == 0, said
    assert [state(run) for run in plan.runs] == ["finished", "finished"]
    assert not list(file.parent.glob("out/.hydra/plan-*"))


def test_studies_with_one_name_do_not_share_the_default_folder(
    write_study, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, out = write_study(), Path("runs/studies/study")
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


def test_a_file_system_without_locks_is_refused(write_study, monkeypatch) -> None:
    def no_locks(*_) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    file = write_study()
    out = file.parent / "out"
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(SystemExit, match=f"the file system of {out} has no locks .* with --out"):
        cli.main(["study", str(file), "--out", str(out)])
    assert not list(out.iterdir())


def test_two_studies_do_not_prepare_one_folder_at_a_time(write_study, monkeypatch, capfd) -> None:
    file = write_study()
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


def test_data_are_prepared_for_tasks_with_runs_to_do_only(write_study) -> None:
    file = write_study(tasks={name: {"recipe": "recipe.sh"} for name in ("done", "open")})
    for run in plan_of(file).runs[:2]:
        execute(run)
    assert run_study(file)[0] == 0
    assert [path.parent.name for path in file.parent.glob("out/*/prepared")] == ["open"]


def test_other_options_for_finished_runs_are_an_error(write_study) -> None:
    execute(plan_of(write_study()).runs[0])
    status, said = run_study(write_study(**task(options={"lr": 2})))
    assert status == 1
    assert "was made with other options" in said and "--lr=2" in said


def test_a_run_never_continues_with_other_options(write_study) -> None:
    file = write_study()
    process, _ = start(file, "--jobs", "1", STAY_AT="2")
    wait_until(lambda: epochs(file) >= 2, process)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    record = file.parent / "out/counting/lstm/seed-1/study.json"
    before = record.read_text()
    write_study(**task(options={"lr": 2}))
    run = plan_of(file).runs[0]
    status, said = run_study(file)
    assert status == 1 and f"{run.folder} was made with other options" in said
    assert "--lr=2" in said and "remove the folder to begin again" in said
    with pytest.raises(ValueError, match="was made with other options"):
        execute(run)
    assert record.read_text() == before
    write_study(**task(options={"skip-damaged": True, "num-workers": 0}))  # the same model
    assert run_study(file)[0] == 0


def test_the_options_of_a_run_without_a_validated_epoch_may_change(write_study) -> None:
    bad = plan_of(write_study(models={"bad": {"fail": True}})).runs[2]
    assert execute(bad) == "failed"
    run = plan_of(write_study(models={"bad": {"lr": 2}})).runs[2]
    assert execute(run) == "finished"
    assert not read_record(run.folder).began  # the failed attempt was another training


def test_an_option_of_the_model_replaces_that_of_the_task(write_study) -> None:
    file = write_study(**task(options={"lr": 1}), models={"slow": {"lr": 0.1}})
    slow = plan_of(file).runs[2]
    execute(slow)
    for same in (task(options={"lr": 7}), task(options={})):  # the model's own lr stays
        assert finished_record(plan_of(write_study(**same, models={"slow": {"lr": 0.1}})).runs[2])
    for other in (task(options={"lr": 0.1}), task(options={"lr": 1}, data="data")):
        with pytest.raises(ValueError, match="was made with other options"):
            finished_record(plan_of(write_study(**other, models={"slow": {"lr": 1}})).runs[2])


def test_a_copied_study_that_is_finished_needs_neither_data_nor_recipe(tmp_path) -> None:
    (tmp_path / "here").mkdir()
    for run in plan_of(writer(tmp_path / "here")(**task(data="corpus"))).runs:
        assert execute(run) == "finished"
    there = (tmp_path / "here").rename(tmp_path / "there")
    (there / "recipe.sh").unlink()
    study = [str(there / "study.yaml"), "--out", str(there / "out")]
    cli.main(["report", *study])
    cli.main(["study", *study])
    writer(there)(**task(data="another"))
    with pytest.raises(SystemExit, match=r"(?s)made with other options.*loses its training"):
        cli.main(["report", *study])


def test_another_corpus_or_recipe_of_the_same_name_is_an_error(write_study, tmp_path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        writer(tmp_path / version)()
    keys = {"recipe": "v1/recipe.sh", "data": "v1/corpus"}
    first = plan_of(write_study(tasks={"counting": keys})).runs[0]
    execute(first)
    for changed in ({"recipe": "v2/recipe.sh"}, {"data": "v2/corpus"}):
        run = plan_of(write_study(tasks={"counting": {**keys, **changed}})).runs[0]
        with pytest.raises(ValueError, match=r"(?s)/v1/.*\nnot\n.*/v2/"):
            finished_record(run)
    assert finished_record(
        plan_of(write_study(tasks={"counting": {**keys, "data": "./v1/corpus/"}})).runs[0]
    )


def test_a_path_that_leads_elsewhere_without_a_move_is_an_error(tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "corpus").mkdir(parents=True)
    files = [writer(tmp_path / name)() for name in ("a", "b")]
    with (tmp_path / "b/recipe.sh").open("a") as recipe:
        recipe.write("# another one\n")
    execute(read_plan(files[0], tmp_path / "out").runs[0])
    other = read_plan(files[1], tmp_path / "out").runs[0]
    with pytest.raises(ValueError, match=r"(?s)/a/recipe\.sh.*\nnot\n.*/b/recipe\.sh"):
        finished_record(other)
    shutil.rmtree(tmp_path / "a")  # it may have been moved
    assert finished_record(other)

    link = tmp_path / "b/link"
    link.symlink_to("corpus")
    file = writer(tmp_path / "b")(**task(data="link"))
    execute(plan_of(file).runs[0])
    assert finished_record(plan_of(file).runs[0])
    (tmp_path / "b/newer").mkdir()
    link.unlink()
    link.symlink_to("newer")
    with pytest.raises(ValueError, match=r"(?s)/corpus.*\nnot\n.*/newer"):
        finished_record(plan_of(file).runs[0])


def test_paths_reach_the_runs_unchanged(write_study) -> None:
    file = write_study()
    odd = file.parent / "a\\b, it's {x}=$y \\"
    odd.mkdir()
    for path in (file, file.parent / "recipe.sh"):
        path.rename(odd / path.name)
    assert run_study(odd / file.name)[0] == 0
    assert [state(run) for run in plan_of(odd / file.name).runs] == ["finished", "finished"]


def test_a_dry_run_shows_the_commands_and_makes_nothing(write_study) -> None:
    file = write_study()
    status, said = run_study(file, "--dry-run")
    assert status == 0
    assert said.splitlines() == [" ".join(run.command()) for run in plan_of(file).runs]
    assert not (file.parent / "out").exists()
