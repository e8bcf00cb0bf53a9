"""The recipe `opennmt` against what it repeats; those of language models are in test_lm_recipes."""

import json
from pathlib import Path

import pytest
from shell import succeeds

pytest.importorskip("fairseq")

RECIPE = Path("..") / "examples" / "translation_multi30k" / "opennmt.sh"
# Levy et al. (2018) trained the example model of OpenNMT-py. These are its settings of early 2018,
# which halve the rate after each epoch from the eighth on: the ninth is the first with a lower one
TRAINING = "--optimizer sgd --lr 1.0 --clip-norm 5 --sentence-avg --batch-size 64 --max-epoch 13"
SCHEDULE = "--lr-scheduler fixed --force-anneal 9 --lr-shrink 0.5"


@pytest.mark.parametrize("model", [["--cell", "no-srnn"], ["--fairseq-lstm"]], ids="".join)
def test_the_opennmt_recipe_trains_as_published(model, tmp_path) -> None:
    command = succeeds(RECIPE, "--out", tmp_path, "--dry-run", *model)
    options = f"{TRAINING} {SCHEDULE}".replace(" --", "\n--").split("\n")
    assert [option for option in options if f" {option} " not in command] == []


def test_the_opennmt_recipe_has_words_and_sentences_of_at_most_50(corpus, tmp_path) -> None:
    succeeds(RECIPE, "--own-corpus", "--data", corpus, "--out", tmp_path, "--prepare-only")
    record = json.loads((tmp_path / "data/prepared.json").read_text())
    assert (record["units"], record["max_words"]) == ("words", 50)
    assert (record["corpus"], record["own_corpus"]) == ("translation", True)
