"""A checkpoint of each kind for the tests of `fairseq-wsum weights`, and the command itself."""

from pathlib import Path

import pytest
from commands import run, train
from text_corpora import made_up
from translation_corpus import TINY

from fairseq_wsum import cli

SENTENCE = "the man sees the dog ."
OPTIONS = {
    "translator": ["--cell", "no-srnn-hidden", "--encoder-bidirectional", "--decoder-layers", 2],
    "parallel": ["--cell", "lstm", "--encoder-layers", 2, "--decoder-input-feeding", "False"],
    "half": ["--encoder-cell", "no-gates", "--decoder-cell", "no-srnn"],
    "none": ["--cell", "no-gates"],
}


def train_models(prepared: Path, folder: Path) -> dict[str, Path]:
    """A checkpoint of each kind in a folder, trained for a moment, by name."""
    for name, options in OPTIONS.items():
        train(prepared, folder / name, *TINY.split(), *options, "--max-update", 2)
    lm = ["--task", "wsum_language_modeling", "--arch", "wsum_lstm_lm", "--decoder-embed-dim", 8]
    lm += ["--decoder-layers", 2, "--decoder-proj-size", 4, "--optimizer", "sgd", "--lr", 1.0]
    lm += ["--batch-size", 3, "--tokens-per-sample", 7, "--max-update", 4]
    mixed = ["--arch", "wsum_transformer", "--cell", "mingru", "--encoder-attention-layers", 1]
    mixed += ["--token-positional-embeddings"]
    for side, text in (("encoder", "source"), ("decoder", "target")):
        mixed += [f"--{side}-embed-dim", 8, f"--{side}-layers", 3, f"--{side}-attention-heads", 2]
        mixed += [f"--{side}-learned-pos", f"--max-{text}-positions", 250]
    train(prepared, folder / "transformer", *TINY.split(), *mixed, "--max-update", 2)
    text = folder / "text"
    text.write_bytes(made_up(40, seed=0))
    prefixes = [f"--{split}pref={text}" for split in ("train", "valid")]
    run("fairseq-preprocess", "--only-source", "--destdir", folder / "data", *prefixes)
    train(folder / "data", folder / "lm", *lm)
    return {name: folder / name / "checkpoint_last.pt" for name in (*OPTIONS, "transformer", "lm")}


def main(*words) -> None:
    cli.main(["weights", *map(str, words)])


def fails(capsys, *words) -> str:
    with pytest.raises(SystemExit) as error:
        main(*words)
    return f"{error.value}{capsys.readouterr().err}"


def traced(reader, text: str, target: str | None = None):
    """A sentence, as a `Reader` reads it."""
    (sentence,) = reader.sentences([reader.encode(text, target)])
    return sentence
