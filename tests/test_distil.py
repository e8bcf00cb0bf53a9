"""`scripts/distil.sh`: the training text, translated by trained models."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from shell import fails, lines, succeeds
from translation_corpus import TINY

from fairseq_wsum.experiments import distil as program

pytest.importorskip("fairseq")
pytest.importorskip("sentencepiece")

TRANSFORMER = Path("..") / "examples" / "translation_multi30k" / "transformer.sh"


def test_a_model_learns_from_the_translations_of_an_ensemble(prepared, tmp_path) -> None:
    run, out = tmp_path / "run", tmp_path / "distilled text"
    train = ["train.sh", prepared, "--gpus", 0, *TINY.split()]
    succeeds(*train, "--save-dir", run, "--max-epoch", 2)
    both = f"{run}/checkpoint1.pt:{run}/checkpoint2.pt"
    distil = ["distil.sh", prepared, "--checkpoints", both, "--out", out, "--cpu"]
    distil += ["--max-len-b", 9]
    assert "60 translations; train on" in succeeds(*distil)

    for lang in ("en", "de"):
        same = lines(out / "text" / f"train.{lang}") == lines(prepared / "text" / f"train.{lang}")
        assert same == (lang == "en")
        names = (folder / f"dict.{lang}.txt" for folder in (prepared, out))
        assert len({name.read_bytes() for name in names}) == 1
    printed = lines(out / "generate.txt")
    (first,) = (line.split("\t")[2] for line in printed if line.startswith("H-0\t"))
    translation = lines(out / "text" / "train.de")[0]
    assert translation.replace(" ", "").replace("\u2581", " ").strip() == first

    record = json.loads((out / "prepared.json").read_text())
    assert list(record["sha256"]) == both.split(":") and record["lenpen"] == 1

    train[1] = f"{prepared}:{out}"
    log = succeeds(*train, "--save-dir", tmp_path / "student", "--max-epoch", 2)
    assert f"loaded 60 examples from: {out}/train.en-de.de" in log

    assert "already done" in succeeds(*distil)
    assert "lenpen is 1.0 there, 2.0 now" in fails(*distil, "--lenpen", 2)
    distil[distil.index(out)] = tmp_path / "other"
    message = fails(*distil, "--max-source-positions", 2)
    assert re.search(r"accept \(Size of sample #\d+ .*max_positions=\(2, 1024\)\): raise", message)
    assert not (tmp_path / "other").exists()


def test_all_models_translate_with_the_beam_and_the_penalty(
    prepared, tmp_path, monkeypatch
) -> None:
    """With a stand-in for fairseq-generate, which shows its arguments."""
    commands = []

    def generate(command, stdout, **_):
        commands.append(command)
        stdout.write(b"H-0\t-1\tein mann .\n")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", generate)
    for name in ("one.pt", "other.pt"):
        (tmp_path / name).touch()
    both = f"{tmp_path}/one.pt:{tmp_path}/other.pt"
    given = ["--checkpoints", both, "--beam", "3", "--lenpen", "1.4", "--batch-size", "7"]
    words = ["distil.sh", str(prepared), "--out", str(tmp_path / "out"), *given, "--max-len-b", "9"]
    monkeypatch.setattr(sys, "argv", words)
    args, options = program.parse()
    assert program.translate(args, options, tmp_path, expected=1, is_bpe=True) == ["ein mann ."]
    (command,) = commands
    assert f"--path={both}" in command
    wanted = {"--beam": "3", "--lenpen": "1.4", "--batch-size": "7"}
    wanted |= {"--gen-subset": "train", "--post-process": "sentencepiece", "--max-len-b": "9"}
    assert {name: command[command.index(name) + 1] for name in wanted} == wanted


def test_wrong_options_are_named(prepared, corpus, tmp_path) -> None:
    distil = ["distil.sh", prepared, "--out", tmp_path / "out", "--checkpoints"]
    assert "--checkpoints none.pt: no such file" in fails(*distil, "none.pt")
    assert not (tmp_path / "out").exists()
    wrong = [*distil[:1], *distil[2:], "c.pt", "--max-len-b", "60", prepared]
    assert "no data folder 60: give DATA first, before" in fails(*wrong)
    assert "12:30: fairseq splits paths at ':'" in fails(*distil, "c.pt", "--out", "12:30")
    (tmp_path / "c.pt").touch()
    given = [*distil, tmp_path / "c.pt", "--prefix-size", 2]
    assert "--prefix-size: words of the references would begin" in fails(*given)
    recipe = [TRANSFORMER, "--own-corpus", "--data", corpus, "--bpe-size", 120]
    recipe += ["--out", tmp_path, "--distilled", prepared]
    assert "--distilled needs --run FOLDER" in fails(*recipe)
    assert not (tmp_path / "data").exists()
    message = fails(*recipe, "--run", tmp_path / "run")
    assert f"--distilled {prepared} was not made of {tmp_path}/data: make it with" in message


def test_an_interrupted_translation_continues_after_its_finished_parts(
    prepared, tmp_path, monkeypatch
) -> None:
    """With a stand-in for fairseq-generate, which fails once."""
    out, model = tmp_path / "out", tmp_path / "one.pt"
    model.touch()
    sizes = ["--batch-size", "7", "--part-size", "20"]
    words = ["distil.sh", str(prepared), "--out", str(out), "--checkpoints", str(model), *sizes]
    monkeypatch.setattr(sys, "argv", words)
    ranks: list[int] = []
    real = subprocess.run

    def generate(command, stdout, **options):
        if "--distributed-rank" not in command:
            return real(command, stdout=stdout, **options)
        number, rank = (
            int(command[command.index(f"--distributed-{name}") + 1])
            for name in ("world-size", "rank")
        )
        ranks.append(rank)
        assert number == 3
        if ranks == [0, 1]:
            return SimpleNamespace(returncode=1)
        for i in range(rank, 60, number):
            stdout.write(f"S-{i}\tx\nH-{i}\t-1\tein mann {i} .\n".encode())
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", generate)
    with pytest.raises(SystemExit, match="the same command continues after"):
        program.main()
    program.main()
    assert ranks == [0, 1, 1, 2]
    units = lines(out / "text" / "train.de")
    text = [line.replace(" ", "").replace("\u2581", " ").strip() for line in units]
    assert text == [f"ein mann {i} ." for i in range(60)]
    assert not [*tmp_path.glob(".*"), *out.glob("generate-*"), *out.glob("*.partial")]

    def train_on(command, **options):
        if "--distributed-rank" in command:
            model.write_bytes(b"another")
        return generate(command, **options)

    ranks[:] = [2]
    monkeypatch.setattr(subprocess, "run", train_on)
    monkeypatch.setattr(sys, "argv", [*words[:3], str(tmp_path / "new"), *words[4:]])
    with pytest.raises(SystemExit, match=r"one\.pt changed meanwhile, so the transl"):
        program.main()


def test_the_translations_do_not_depend_on_the_parts(prepared, tmp_path) -> None:
    run = tmp_path / "run"
    succeeds("train.sh", prepared, "--gpus", 0, *TINY.split(), "--save-dir", run, "--max-epoch", 1)
    distil = ["distil.sh", prepared, "--checkpoints", run / "checkpoint1.pt", "--cpu"]
    distil += ["--max-len-b", 9, "--batch-size", 11]
    for name, size in (("one", 60), ("three", 20)):
        succeeds(*distil, "--part-size", size, "--out", tmp_path / name)
    for name in ("text/train.de", "train.en-de.de.bin"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "three" / name).read_bytes()
