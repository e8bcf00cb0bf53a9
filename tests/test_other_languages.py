"""Corpora in other languages than English and German, through the real scripts."""

import json
from pathlib import Path

import pytest
from shell import fails, lines, succeeds
from translation_corpus import TINY

pytest.importorskip("fairseq")
pytest.importorskip("sacremoses")

FRENCH = ["--source-lang", "en", "--target-lang", "fr"]
EXAMPLE = Path("..") / "examples" / "translation_multi30k"


@pytest.fixture(scope="module")
def french(tmp_path_factory):
    """Text as it is written, in files with names of its own."""
    folder = tmp_path_factory.mktemp("french")
    for split, size in (("train", 40), ("valid", 6), ("test", 5)):
        sides = {
            "en": [f"The dog sees {i} trees, so." for i in range(size)],
            "fr": [f"Le chien voit {i} arbres, donc l'homme." for i in range(size)],
        }
        for lang, text in sides.items():
            (folder / f"{split}.{lang}").write_text("".join(f"{line}\n" for line in text))
    return folder


def test_another_language_is_prepared_learnt_and_scored(french, tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    corpus = ["--data", french, "--text", "raw", "--units", "words"]
    succeeds("prepare.sh", "translation", *corpus, *FRENCH, "--out", data)
    record = json.loads((data / "prepared.json").read_text())
    assert record["sentences"] == {"train": 40, "valid": 6, "test": 5}
    assert (data / "train.en-fr.fr.bin").is_file()
    # sacremoses knows French, and in English would cut before '
    assert lines(data / "text" / "valid.fr")[0].endswith(", donc l' homme .")
    message = fails("prepare.sh", "translation", *corpus, *FRENCH[:3], "de", "--out", data)
    assert "target_lang is fr there, de now" in message

    succeeds("train.sh", data, "--save-dir", run, *TINY.split(), "--max-epoch", 1, "--gpus", 0)
    succeeds("score.sh", data, "--checkpoints", run, "--max-len-b", 20, "--replace-unk")
    scores = json.loads((run / "score-test" / "scores.json").read_text())
    assert [f["reference"] for f in scores["figures"]] == ["test.raw.fr"] * 2
    assert scores["hypotheses"] == "hypotheses.lenpen1.detok.fr"
    assert scores["data"]["target_lang"] == "fr" and scores["sentences"] == 5
    for form in ("", ".detok"):
        assert len(lines(run / "score-test" / f"hypotheses.lenpen1{form}.fr")) == 5


def test_a_recipe_takes_another_language(french, tmp_path):
    corpus = ["--own-corpus", "--data", french, "--text=raw", *FRENCH, "--bpe-size", 70]
    succeeds(EXAMPLE / "transformer.sh", *corpus, "--out", tmp_path, "--prepare-only")
    assert (tmp_path / "data" / "train.en-fr.fr.bin").is_file()
