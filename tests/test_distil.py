"""`scripts/distil.sh`: the training text, translated by trained models."""

import json
import re

import pytest
from shell import fails, lines, refuses, succeeds
from translation_corpus import TINY, joined

pytest.importorskip("fairseq")
pytest.importorskip("sentencepiece")
from fairseq_wsum.experiments import distil
from fairseq_wsum.experiments.corpora import bpe


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
    assert joined(lines(out / "text" / "train.de"))[0] == first

    record = json.loads((out / "prepared.json").read_text())
    assert list(record["sha256"]) == both.split(":") and record["lenpen"] == 1

    train[1] = f"{prepared}:{out}"
    log = succeeds(*train, "--save-dir", tmp_path / "student", "--max-epoch", 2)
    assert f"loaded 60 examples from: {out}/train.en-de.de" in log

    assert "already done" in succeeds(*distil)
    assert "lenpen is 1.0 there, 2.0 now" in fails(*distil, "--lenpen", 2)
    distil[distil.index(out)] = tmp_path / "other"
    message = fails(*distil, "--max-source-positions", 2)
    assert re.search(r"accepts \(Size of sample #\d+ .*max_positions=\(2, 1024\)\)\. An", message)
    assert not (tmp_path / "other").exists()


def test_an_unknown_word_of_a_translation_stays_one_unit(prepared) -> None:
    model = bpe.load(prepared / "spm.model")
    text = lines(prepared / "text/train.de")[:2]
    first, second = joined(text)
    given = [f"{first} <unk> <unk><unk>", second]
    assert list(distil.segmented(model, given)) == [f"{text[0]} ▁ <unk> ▁ <unk>", text[1]]


def test_wrong_options_are_named(prepared, tmp_path, capsys) -> None:
    rest = ["--out", tmp_path / "out", "--checkpoints"]
    message = refuses(distil.main, capsys, prepared, *rest, "none.pt")
    assert "--checkpoints none.pt: no such file" in message
    wrong = [*rest, "c.pt", "--max-len-b", "60", prepared]
    assert "no data: give the folder first" in refuses(distil.main, capsys, *wrong)
    assert not list(tmp_path.iterdir())
