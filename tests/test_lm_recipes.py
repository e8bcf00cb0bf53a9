"""The recipes for language models, from the text to the perplexity, on tiny corpora."""

import json
import math
import random
import re
import shutil
from itertools import groupby
from pathlib import Path

import pytest

pytest.importorskip("fairseq")
from commands import ROOT, run
from shell import refuses

from fairseq_wsum.experiments import perplexity
from fairseq_wsum.experiments.recipes import RECIPES

EXAMPLES = ROOT / "examples"
TINY = ["--decoder-embed-dim", 8, "--decoder-hidden-size", 8, "--batch-size", 2, "--gpus", 0]


def write_text(path: Path, lines: int) -> None:
    rng = random.Random(path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    sentences = [[f"w{rng.randrange(9)}" for _ in range(rng.randint(1, 8))] for _ in range(lines)]
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in sentences))


@pytest.fixture(scope="module")
def ptb(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ptb")
    for split, lines in (("train", 60), ("valid", 9), ("test", 9)):
        write_text(folder / f"ptb.{split}.txt", lines)
    return folder


def assert_scored(folder: Path, text: Path, below: float = 100) -> dict[str, float]:
    """The perplexities of a folder are those of all tokens of its test set."""
    figures = json.loads((folder / "perplexity.json").read_text())
    words = text.read_text().split("\n")[:-1]
    assert figures["test_tokens"] == sum(len(line.split()) + 1 for line in words)
    assert all(1 < figures[split] < below for split in ("valid", "test"))  # 1: no tokens
    return figures


def test_all_training_files_are_one_text(ptb, tmp_path) -> None:
    data = shutil.copytree(ptb, tmp_path / "own")
    for split in ("valid", "test"):
        (data / f"ptb.{split}.txt").rename(data / f"{split}.txt")
    (data / "ptb.train.txt").rename(data / "train-1.txt")
    shutil.copy(data / "train-1.txt", data / "train-2.txt")
    recipe = ["bash", EXAMPLES / "language_model_ptb/ptb.sh", "--own-corpus", "--data", data]
    output = run(*recipe, "--out", tmp_path, "--epochs", 1, *TINY)
    assert "loaded 120 examples" in output
    shutil.rmtree(tmp_path / "data")
    (data / "train-2.txt").unlink()  # the old model is not taken for one of the new text
    output = run(*recipe, "--out", tmp_path, "--epochs", 1, *TINY, check=False)
    assert re.search("other options or data: --data-checksum is .* Give the former", output)


def test_the_ptb_recipe_prints_perplexities_and_a_table(ptb, tmp_path) -> None:
    recipe = [EXAMPLES / "language_model_ptb/ptb.sh", "--data", ptb, "--own-corpus"]
    recipe += ["--out", tmp_path, "--epochs", 1, *TINY]
    recipe_of_a_cell = [*recipe, "--cell", "no-srnn", "--seed", 2]
    output = run("bash", *recipe_of_a_cell)
    folder = tmp_path / "small/no-srnn/epochs-1-seed-2"
    figures = assert_scored(folder, ptb / "ptb.test.txt")
    assert list(figures) == ["valid", "valid_tokens", "test", "test_tokens", "task"]
    for split in ("valid", "test"):
        assert f"{split}: perplexity {figures[split]:.2f} ({figures[split + '_tokens']} t" in output

    output = run("bash", *recipe_of_a_cell)
    assert "already trained" in output and "already done" in output
    own = ["--user-dir", EXAMPLES / "own_cell", "--cell", "own-mingru"]
    assert "test: perplexity" in run("bash", *recipe, *own)
    run("bash", *recipe, "--fairseq-lstm")
    assert_scored(tmp_path / "small/fairseq-lstm/epochs-1-seed-1", ptb / "ptb.test.txt", math.inf)

    peer = tmp_path / "small/fairseq-lstm/epochs-1-seed-1/checkpoint_last.pt"
    score = [ROOT / "scripts/perplexity.sh", tmp_path / "data", "--checkpoint", peer, "--cpu"]
    output = run(
        "bash", *score, *("--task", "language_modeling", "--tokens-per-sample", 1024), check=False
    )
    assert "part of valid was not scored" in output and "max_target_positions" in output


@pytest.mark.parametrize("model", ["--cell=no-srnn-hidden", "--fairseq-transformer"])
def test_the_transformer_recipe_counts_updates_and_scores_every_token(model, ptb, tmp_path) -> None:
    recipe = [EXAMPLES / "language_model_ptb/transformer_lm.sh", "--data", ptb, "--own-corpus"]
    tiny = ["--decoder-layers", 1, "--batch-size", 2, "--gpus", 0]
    out = ["--run", tmp_path / "run", "--out", tmp_path]
    output = run("bash", *recipe, *out, model, "--epochs", 2, *tiny)
    assert_scored(tmp_path / "run", ptb / "ptb.test.txt", math.inf)
    updates = re.findall(r"\| epoch 002 \|.* num_updates (\d+)", output)[0]
    assert f"--total-num-update {updates} " in (tmp_path / "run/.recipe.options").read_text()


def test_the_awd_recipe_averages_the_last_epochs(tmp_path) -> None:
    for split, lines in (("train", 80), ("valid", 9), ("test", 9)):
        write_text(tmp_path / f"wiki.{split}.tokens", lines)
    recipe = [EXAMPLES / "language_model_awd/awd.sh", "--corpus", "wikitext2", "--cell", "lstm"]
    recipe += ["--data", tmp_path, "--own-corpus", "--out", tmp_path / "out", "--epochs", 2]
    output = run("bash", *recipe, "--average", 2, *TINY, "--tokens-per-sample", 15)
    folder = tmp_path / "out/wikitext2/lstm/epochs-2-seed-1"
    assert f"averaged checkpoint1.pt checkpoint2.pt into {folder}/average-2.pt" in output
    figures = assert_scored(folder, tmp_path / "wiki.test.tokens")
    assert f"test: perplexity {figures['test']:.2f} ({figures['test_tokens']} tokens)" in output
    assert figures["task"] == "wsum_language_modeling"


def test_the_gbw_recipe_trains_on_all_shards(tmp_path) -> None:
    text = tmp_path / "text"
    for name, lines in {**{f"train-{k}": 40 for k in (1, 2, 3)}, "valid": 9, "test": 9}.items():
        write_text(text / f"{name}.txt", lines)
    output = run(
        *("bash", EXAMPLES / "language_model_gbw/gbw.sh", "--cell", "no-srnn-out"),
        *("--data", text, "--own-corpus", "--shards", 2, "--passes", 2),
        *("--out", tmp_path / "out", *TINY, "--tokens-per-sample", 5),
        *("--decoder-hidden-size", 12, "--decoder-proj-size", 6, "--adaptive-softmax-cutoff", 8),
    )
    assert re.findall(r"begin training epoch (\d+)", output) == ["1", "2", "3", "4"]
    read = [Path(name).name for name in re.findall(r"examples from: (.*)/train", output)]
    read = [name for name, _ in groupby(read)]  # the last epoch is not trained
    assert read == ["data", "shard-002", "data", "shard-002", "data"]
    assert_scored(tmp_path / "out/no-srnn-out", text / "test.txt")
    recipe = RECIPES["gbw"](
        "gbw", ["--own-corpus", "--data", str(text), "--out", str(tmp_path / "out"), "--dry-run"]
    )
    assert [Path(one).name for one in recipe.text().split(":")] == ["data", "shard-002"]


STREAM = "--task wsum_language_modeling --out"


@pytest.mark.parametrize(
    ("recipe", "model"),
    [
        ("ptb", f"checkpoint_last.pt {STREAM}"),
        ("awd --corpus ptb", f" --average 5 {STREAM}"),
        ("gbw", f"checkpoint_best.pt {STREAM}"),
        ("transformer_lm", f"checkpoint_last.pt {STREAM}"),
        (
            "transformer_lm --fairseq-transformer",  # which carries no state
            "checkpoint_last.pt --task language_modeling --context-window=60",
        ),
    ],
)
def test_a_recipe_scores_its_model(recipe, model, tmp_path, monkeypatch) -> None:
    for epoch in range(1, 13):
        (tmp_path / f"checkpoint{epoch}.pt").touch()
    scored = []
    monkeypatch.setattr(perplexity, "main", scored.append)
    name, *options = recipe.split()
    RECIPES[name](name, [*options, "--run", str(tmp_path)]).score()
    file, *expected = model.split(" ")
    expected = ["--checkpoint", str(tmp_path / file), *expected]
    assert scored[0][1 : 1 + len(expected)] == expected


MODEL = ["DATA", "--checkpoint", "DATA/model.pt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere", "--checkpoint", "x"], "--splits valid,test: /nowhere has no valid; "),
        (["--checkpoint", "x"], "no data: give the folder first"),
        (["DATA", "--checkpoint", "x", "--splits", "test"], "Model file not found: x"),
        (["DATA", "--checkpoint", "DATA"], "DATA: name a file, or a folder with --average"),
        ([*MODEL, "--average", 2], "model.pt: name a file, or a folder with --average"),
        ([*MODEL, "--gen-subset", "tset"], "--splits tset: DATA has no tset"),
    ],
)
def test_perplexity_names_what_is_missing(arguments, message, tmp_path, capsys) -> None:
    for name in ("dict.txt", "test.idx", "model.pt"):
        (tmp_path / name).touch()
    arguments = [str(word).replace("DATA", str(tmp_path)) for word in arguments]
    output = refuses(perplexity.main, capsys, *arguments)
    assert message.replace("DATA", str(tmp_path)) in output
