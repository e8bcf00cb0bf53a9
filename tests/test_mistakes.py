"""Mistakes on the command line: the message names the option or the file, and the cure."""

import json
import shlex
import shutil

import pytest

pytest.importorskip("fairseq")
from commands import train
from shell import fails, lines, succeeds
from translation_corpus import TINY

TRAINING = TINY.split()


def test_another_data_folder_is_named_in_scoring(prepared, tmp_path) -> None:
    """Even if its dictionary has the same size."""
    train(prepared, tmp_path / "model", *TRAINING, "--max-update", 1)
    same_size = tmp_path / "same size"
    shutil.copytree(prepared, same_size)
    for name in ("dict.en.txt", "dict.de.txt"):
        words = (same_size / name).read_text("utf-8").splitlines(keepends=True)
        (same_size / name).write_text("".join(reversed(words)), "utf-8")
    message = fails("score.sh", same_size, "--checkpoints", tmp_path / "model/checkpoint_last.pt")
    assert "the checkpoint was trained with other words" in message


def test_sentences_longer_than_the_model_accepts_are_named_with_the_cure(
    prepared, tmp_path
) -> None:
    texts = [lines(prepared / "text" / f"{split}.de") for split in ("valid", "test")]
    lengths = sorted(len(line.split()) + 1 for text in texts for line in text)
    limit = ["--max-target-positions", lengths[len(lengths) // 2]]
    limit.append("--skip-invalid-size-inputs-valid-test")
    train(prepared, tmp_path, *TRAINING, "--max-epoch", 1, *limit)
    score = ["score.sh", prepared, "--checkpoints", tmp_path]
    message = fails(*score)
    cure = message[message.index("--max-source-positions N") :].replace(" N", " 99")
    succeeds(*score, *shlex.split(cure))
    assert json.loads((tmp_path / "score-test" / "scores.json").read_text())["sentences"] == 7
