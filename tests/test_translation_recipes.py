"""The recipes for translation, on a tiny corpus."""

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from shell import fails, refuses, succeeds
from translation_corpus import TINY

from fairseq_wsum.experiments import recipes
from fairseq_wsum.experiments.locks import lock
from fairseq_wsum.experiments.program import UserError
from fairseq_wsum.experiments.recipes import recipe, updates
from fairseq_wsum.experiments.recipes.recipe import changed_options
from fairseq_wsum.experiments.recipes.translation import OpenNMT, Transformer, Translation
from fairseq_wsum.experiments.recipes.updates import count_updates
from fairseq_wsum.experiments.train import WITHOUT_EFFECT

pytest.importorskip("fairseq")

OPTIONS = ".recipe.options"
RECIPES = Path("..") / "examples" / "translation_multi30k"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--cell", "lstm no-srnn"], "--cell lstm no-srnn: choose one of lstm, no-srnn, "),
        (["--cell", ""], "--cell : choose one of lstm"),
        (["--out", "12:30"], "argument --out: 12:30: fairseq splits paths at ':'"),
        (["--stop-time-hours", "1"], "--stop-time-hours: end the recipe with Ctrl-C or kill"),
    ],
    ids=" ".join,
)
def test_a_recipe_names_a_wrong_option_before_it_makes_data(options, named, tmp_path, capsys):
    given = ["strong", "--out", tmp_path / "out", *options]
    assert named in refuses(recipes.main, capsys, *given) and not list(tmp_path.iterdir())


def test_a_recipe_folder_belongs_to_one_set_of_options(corpus, tmp_path):
    out = tmp_path / "my runs"
    recipe = [RECIPES / "opennmt.sh", "--own-corpus", "--data", corpus, "--out", out]
    command = succeeds(*recipe, "--cell", "no-srnn", "--dry-run")
    assert "--cell=no-srnn --arch=wsum_lstm " in command
    assert not out.exists()  # nothing was prepared or trained, so nothing is marked as done
    run = out / "no-srnn"
    out.mkdir()
    (tmp_path / "scratch").mkdir()
    run.symlink_to("../scratch")
    other = [*recipe, "--cell", "no-srnn", "--decoder-cell", "lstm"]
    (run / "checkpoint_last.pt").touch()
    assert "has checkpoints of a training that is not this recipe's" in fails(*other)
    assert not (run / OPTIONS).exists()
    (run / OPTIONS).write_text("--arch another")
    message = fails(*other)
    assert "with other options or data: --arch is another there, wsum_lstm now; " in message
    assert "Give the former ones to continue, or a new folder with --out or --run" in message
    assert (run / OPTIONS).read_text() == "--arch another"


def test_a_signal_to_a_recipe_ends_its_training_whose_output_is_shown_and_kept(tmp_path):
    code = """import os, sys
from fairseq_wsum.experiments import program
from fairseq_wsum.experiments.recipes import recipe
def write(line):
    os.write(1, line)
with open(sys.argv[1], "wb") as log:
    command = ["bash", "-c", "printf a; echo $$ >&2; exec sleep 900"]
    program.run(lambda: recipe.job(command, log, sys.stdin, write))"""
    command = [sys.executable, "-c", code, tmp_path / "log"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        shown = process.stdout.readline()  # it has passed through the recipe, which thus waits
        process.terminate()
        assert process.wait(600) == 143
    assert (tmp_path / "log").read_bytes() == shown
    with pytest.raises(ProcessLookupError):
        os.kill(int(shown.removeprefix(b"a")), 0)


def test_a_killed_training_is_named(tmp_path):
    with (tmp_path / "log").open("w+b") as log, pytest.raises(UserError, match="ended by SIGKILL"):
        recipe.job(["bash", "-c", "kill -9 $$"], log, log, print)


def test_two_recipes_prepare_one_folder_in_turn(tmp_path, monkeypatch):
    recipe = Transformer("transformer", ["--out", str(tmp_path / "out"), "--prepare-only"])
    (tmp_path / "out").mkdir()
    with lock(tmp_path / "out/.prepare.lock"):
        sleep = Mock(side_effect=KeyboardInterrupt)  # while it waits
        monkeypatch.setattr("fairseq_wsum.experiments.locks.time.sleep", sleep)
        with pytest.raises(KeyboardInterrupt):
            recipe.main()
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".prepare.lock"]


def test_another_learning_rate_schedule_has_no_number_of_updates(tmp_path, monkeypatch):
    monkeypatch.setattr("fairseq_wsum.experiments.recipes.updates.count_updates", lambda given: 7)
    (tmp_path / "data").mkdir()
    given = ["--lr-scheduler", "inverse_sqrt", "--out", str(tmp_path), "--dry-run"]
    assert "--total-num-update" not in Transformer("transformer", given).command()
    assert "--total-num-update" in Transformer("transformer", given[2:]).command()


def test_a_recipe_changes_nothing_in_a_folder_where_another_trains(tmp_path, monkeypatch):
    """Before its first checkpoint, too."""
    (tmp_path / OPTIONS).write_text("--arch another")
    recipe = Transformer("transformer", ["--run", str(tmp_path)])
    clock = iter(range(0, 1000, 15))
    monkeypatch.setattr("fairseq_wsum.experiments.locks.time.monotonic", lambda: next(clock))
    with (tmp_path / ".recipe.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=f"--run {tmp_path}: another run is writing there"):
            recipe.train_model([])
    assert (tmp_path / OPTIONS).read_text() == "--arch another"


@pytest.mark.parametrize(
    ("one", "other", "changed"),
    [
        ("--bf16 --lr 1 --lr 2", "--lr=2 --bf16", ""),
        ("--adam-betas (0.9,0.98) -s en", "-s en --adam-betas=(0.9,0.98)", ""),
        ("--weight-decay -1 --bf16", "--bf16 --weight-decay -1", ""),
        ("--lr 1", "--lr 1 0.5", "--lr is 1 there, 1 0.5 now"),
        ("--cpu", "--fp16", "--cpu is given there, absent now; --fp16 is absent there, given now"),
        ("--bf16", "", "--bf16 is given there, absent now"),
        ("--lr 1 --seed 5 --lr 2", "--lr 1 --seed 5 --lr 3", "--lr is 2 there, 3 now"),
        ("--num-workers 0 --bf16", "--bf16 --log-interval=9", ""),
        (" ".join(sorted(WITHOUT_EFFECT)), "", ""),  # those that a study allows to change
    ],
)
def test_only_options_that_change_the_model_make_a_difference(one, other, changed):
    assert changed_options(one.split(), other.split()) == changed


@pytest.mark.parametrize("cell", [["--cell", "no-srnn"], ["--fairseq-lstm"]], ids="".join)
def test_the_opennmt_recipe_trains_and_replaces_unknown_words(cell, corpus, tmp_path):
    small = ["--decoder-out-embed-dim", 8, "--max-epoch", 1, "--gpus", 0]
    for side in ("encoder", "decoder"):
        small += [f"--{side}-embed-dim", 8, f"--{side}-hidden-size", 8]
    recipe = [RECIPES / "opennmt.sh", "--own-corpus", "--data", corpus, "--out", tmp_path]
    succeeds(*recipe, *cell, "--prepare-only")
    assert {path.name for path in tmp_path.iterdir()} == {"data", ".prepare.lock"}
    output = succeeds(*recipe, *cell, *small, "--run", tmp_path / "here")
    assert (tmp_path / "here/score-valid/scores.json").is_file()
    record = json.loads((tmp_path / "here/score-test/scores.json").read_text())
    assert record["replace_unk"] and record["sentences"] == 7 and record["lenpen"] == 0
    assert f"  BLEU  {record['figures'][0]['score']:6.2f}  lower-cased tokens" in output
    prepared = json.loads((tmp_path / "data/prepared.json").read_text())
    assert (prepared["units"], prepared["max_words"]) == ("words", 50)


@pytest.mark.parametrize(
    ("options", "batch", "replaced"),
    [
        ([], "64", True),
        (["--decoder-attention", "mlp"], "64", True),
        (["--decoder-attention", "none"], "64", False),
        (["--decoder-attention=False"], "64", False),
        (["--decoder-attention", "none", "--decoder-attention=mlp"], "64", True),
        (["--fairseq-lstm"], "1", True),
        (["--units", "bpe"], "64", False),
    ],
)
def test_the_opennmt_recipe_replaces_unknown_words_where_it_can(
    options, batch, replaced, tmp_path, monkeypatch
):
    scored = {}
    monkeypatch.setattr(OpenNMT, "score_set", lambda _, name, *given: scored.update({name: given}))
    OpenNMT("opennmt", ["--run", str(tmp_path), *options]).score()
    assert list(scored) == ["valid", "test"]
    for given in scored.values():
        expected = ["--checkpoints", str(tmp_path / "checkpoint_last.pt"), "--lenpen", "0"]
        expected += ["--batch-size", batch, *(["--replace-unk"] if replaced else [])]
        assert [*given] == expected


@pytest.mark.parametrize("name", ["transformer", "transformer_tiny"])
def test_distilled_translations_are_a_second_text(name, tmp_path):
    recipe = recipes.RECIPES[name](name, ["--out", "a", "--distilled", str(tmp_path)])
    assert recipe.text() == f"a/data:{tmp_path}"
    assert recipe.run == Path("a/no-srnn-hidden-distilled")  # not that of the plain model


def test_the_last_ten_checkpoints_are_averaged(tmp_path, monkeypatch):
    for epoch in range(1, 13):
        (tmp_path / f"checkpoint{epoch}.pt").touch()
    scored = []

    def score_set(_, subset, *options):
        scored.append((subset, options[:4]))
        (tmp_path / "scores.json").write_text('{"lenpen": 1.4}')
        return tmp_path

    monkeypatch.setattr(Translation, "score_set", score_set)
    Translation("strong", ["--run", str(tmp_path)]).score()
    given = ("--checkpoints", str(tmp_path), "--average", "10")
    assert scored == [("valid", given), ("test", given)]


RUN = "no-srnn-hidden"


def test_the_transformer_recipe_scores_a_model_of_a_small_corpus(corpus, tmp_path):
    out = tmp_path / "\u00fcbung"
    recipe = [RECIPES / "transformer.sh", "--own-corpus", "--data", corpus, "--out", out]
    assert "--bpe-size 8000 --character-coverage 1.0 does not suit this text" in fails(*recipe)
    recipe += ["--bpe-size", 120, "--gpus", 0, "--max-epoch", 2]
    recipe += ["--max-tokens", 100, "--update-freq", 2, "--warmup-updates", 1]
    succeeds(*recipe)
    log = (out / RUN / "train.log").read_text()
    ends = re.findall(r"num_updates (\d+) \| lr (\S+)", log)
    assert f"--total-num-update {ends[-1][0]} " in (out / RUN / OPTIONS).read_text()
    assert float(ends[-1][1]) == 0 < float(ends[-2][1])  # at the end of the training, not before
    valid, test = (
        json.loads((out / RUN / f"score-{subset}/scores.json").read_text())
        for subset in ("valid", "test")
    )
    assert test["sentences"] == 7
    assert [each["lenpen"] for each in valid["tried"]] == [0.6, 1.0, 1.4, 1.8]
    assert [each["lenpen"] for each in test["tried"]] == [valid["lenpen"]]
    for record in (valid, test):
        assert record["averaged"] == ["checkpoint1.pt", "checkpoint2.pt"]
    # within a job of Slurm and in other locales, too, the updates are counted
    dry_run = succeeds(*recipe[:-2], "--warmup-updates", 1, "--run", tmp_path / "new", "--dry-run",
                       SLURM_JOB_NODELIST="n1", LC_ALL="C")  # fmt: skip
    assert f"--total-num-update {ends[-1][0]} " in dry_run
    recipe[recipe.index(120)] = 100  # the models of a folder share their data
    assert "bpe_size is 120 there, 100 now" in fails(*recipe)


@pytest.mark.parametrize(
    ("batches", "processes", "frequencies", "epochs", "limit", "expected"),
    [
        ([7], 1, [1], 3, 0, 7 + 7 + 7),
        ([7], 2, [3], 3, 0, 2 + 2 + 2),  # a process has 4 batches: updates with 3 and 1
        ([10, 3], 1, [4], 3, 0, 3 + 1 + 3),
        ([10, 3], 2, [1, 2], 4, 0, 5 + 1 + 3 + 1),
        ([10, 3], 2, [1, 2], 4, 6, 6),
        ([10, 3], 2, [1, 2], 0, 6, 6),  # no limit of epochs
    ],
)
def test_the_updates_of_all_epochs_are_counted(
    batches, processes, frequencies, epochs, limit, expected, monkeypatch
):
    monkeypatch.setattr(updates, "_batches_in", lambda cfg, epoch: batches[epoch - 1])
    length = SimpleNamespace(update_freq=frequencies, max_epoch=epochs, max_update=limit)
    length.skip_remainder_batch = False
    folders = SimpleNamespace(data=":".join(map(str, batches)))
    cfg = SimpleNamespace(task=folders, optimization=length)
    assert updates._count(cfg, processes) == expected


def test_updates_that_fairseq_skips_are_not_counted(prepared, tmp_path):
    tiny = TINY.replace("--batch-size 30", "--batch-size 8 --update-freq 3 --max-epoch 2").split()
    command = ["train.sh", prepared, "--save-dir", tmp_path, "--gpus", 0, *tiny]
    command += ["--skip-remainder-batch", "--disable-validation", "--no-save"]
    counted = count_updates(list(map(str, command[1:])))
    assert str(counted) == re.findall(r"num_updates (\d+)", succeeds(*command))[-1] == "4"


def test_sentences_that_are_too_long_for_a_batch_are_not_counted(prepared, tmp_path):
    tiny = TINY.replace(
        "--batch-size 30", "--max-tokens 11 --max-epoch 1 --disable-validation"
    ).split()
    command = ["train.sh", prepared, "--save-dir", tmp_path, "--gpus", 0, *tiny]
    counted = count_updates(list(map(str, command[1:])))
    log = succeeds(*command)
    assert "have invalid sizes and will be skipped" in log
    assert str(counted) == re.findall(r"num_updates (\d+)", log)[-1]


def test_two_processes_need_half_the_updates(prepared, tmp_path):
    tiny = TINY.replace("--batch-size 30", "--batch-size 7 --max-epoch 1").split()
    words = [str(prepared), "--save-dir", str(tmp_path), *tiny]
    one, two = (count_updates([*words, *o]) for o in (["--gpus", "0"], ["--cpu-processes", "2"]))
    assert one == 9 and two == 5


def test_the_captions_of_the_small_study_can_be_prepared(tmp_path) -> None:
    captions = RECIPES.parent / "ablation_study" / "captions.sh"
    succeeds(captions, "--prepare-only", "--sentences", 200, "--out", tmp_path)
    record = json.loads((tmp_path / "data" / "prepared.json").read_text())
    assert record["sentences"] == {"train": 200, "valid": 200, "test": 300}
    assert "--sentences 8001: the corpus has 8000" in fails(captions, "--sentences", 8001)
