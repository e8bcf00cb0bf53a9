"""Sentiment with the real commands: recipe, training, negation and weights."""

import json
import re
from collections import Counter
from statistics import fmean
from types import SimpleNamespace

import pytest

pytest.importorskip("fairseq")
import numpy
import torch
from commands import ROOT, assert_same_weights, every_cells_options, run, train
from fairseq.data import Dictionary
from sentiment_trees import TREES
from shell import refuses
from translation import dictionary_of

from fairseq_wsum.checkpoint_files import read
from fairseq_wsum.experiments import negation
from fairseq_wsum.experiments.corpora.sentiment_trees import negations, parse
from fairseq_wsum.experiments.recipes import RECIPES
from fairseq_wsum.plugin.models.wsum_classifier import WsumClassifier, WsumClassifierConfig
from fairseq_wsum.weights import reader as reader_module
from fairseq_wsum.weights.reader import Reader

RECIPE = ROOT / "examples/sentiment_sst/sst.sh"
TINY = ["--encoder-embed-dim", "6", "--encoder-hidden-size", "5", "--max-tokens", "40"]
OPTIONS = "--task sentence_prediction --arch wsum_classifier --criterion sentence_prediction"
OPTIONS += " --optimizer adam --lr 0.05 --no-epoch-checkpoints --num-classes 5"
TRAINING = [*OPTIONS.split(), *TINY]


@pytest.mark.parametrize(("model", "labels"), [("lstm", "2"), ("bag", "5")])
def test_the_recipe_trains_and_scores(model, labels, sentiment, tmp_path) -> None:
    recipe = ["bash", RECIPE, "--own-corpus", "--data", sentiment, "--out", tmp_path]
    recipe += ["--bag"] if model == "bag" else []
    output = run(*recipe, "--labels", labels, "--gpus", 0, *TINY)
    folder = tmp_path / labels / model / "epochs-2-seed-1"
    figures = json.loads((folder / "figures.json").read_text())
    assert [*figures["test"]] == ["accuracy", "accuracy, negated"]
    assert f"test: accuracy {figures['test']['accuracy']:.2f}, accuracy, neg" in output
    accuracies = re.findall(r"valid on 'valid' subset .* accuracy ([\d.]+)", output)
    best = max(map(float, accuracies))  # fairseq rounds it
    assert figures["valid"]["accuracy"] == pytest.approx(best, abs=0.05)
    weights = read(folder / "checkpoint_best.pt")["model"]
    assert any("lstm" in name for name in weights) == (model == "lstm")


def test_the_scores_of_a_set_and_of_its_negated_sentences(sentiment, tmp_path) -> None:
    """Of the six trees one is neutral; two are negated, and one of them is positive."""
    (tmp_path / "data-2/trees").mkdir(parents=True)
    (tmp_path / "data-2/trees/test.txt").write_text("\n".join(TREES))
    (tmp_path / "data-2/trees/valid.txt").write_text(TREES[0])
    recipe = RECIPES["sst"]("sst", ["--labels", "2", "--out", str(tmp_path)])
    task = SimpleNamespace(source_dictionary=Dictionary.load(f"{sentiment}/data/input0/dict.txt"))
    model = WsumClassifier.build_model(WsumClassifierConfig(encoder_layers=0), task)
    model.register_classification_head("head", 2)
    model.classification_heads["head"].bias.data = torch.tensor([-9.0, 9.0])  # always positive
    assert recipe.scores(model, task, "test") == {"accuracy": 60, "accuracy, negated": 50}
    assert recipe.scores(model, task, "valid") == {"accuracy": 100}


@pytest.fixture(scope="module")
def checkpoint(sentiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    options = [*TRAINING, "--max-epoch", 25, "--save-interval", 25, "--dropout", 0]
    log = train(sentiment / "data", folder, *options)
    assert "accuracy 100" in log  # the few trees are learnt
    return folder / "checkpoint_last.pt"


@every_cells_options(usual=("no-gates",))
def test_every_cell_trains(cell, sentiment, tmp_path) -> None:
    assert "| accuracy " in train(sentiment / "data", tmp_path, *TRAINING, *cell, "--max-update", 2)


def test_a_resumed_training_equals_an_uninterrupted_one(sentiment, tmp_path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(sentiment / "data", whole, *TRAINING, "--max-epoch", 2)
    train(sentiment / "data", parts, *TRAINING, "--max-update", 3)
    log = train(sentiment / "data", parts, *TRAINING, "--max-epoch", 2)
    assert "Loaded checkpoint" in log
    assert_same_weights(parts, whole)


def test_the_weights_of_a_classifier(checkpoint, tmp_path) -> None:
    given = ["weights", checkpoint, "--sentence", "film is not new", "--arrays", tmp_path / "a.npz"]
    run("fairseq-wsum", *given, "--page", tmp_path / "a.html")
    found = numpy.load(tmp_path / "a.npz")
    assert [*found["0/encoder/1/tokens"]] == ["film", "is", "not", "new <unk>", "</s>"]
    state = torch.load(checkpoint, weights_only=False)
    state["cfg"]["task"]["init_token"] = 0
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="after --init-token cannot be traced"):
        Reader(tmp_path / "other.pt")


def test_negation_is_that_of_plain_loops(checkpoint) -> None:
    """The gates, weights and memory of an LSTM, by its equations."""
    reader = Reader(checkpoint)
    lstm, words = reader.model.encoder.lstm, ("film", "is", "not", "good")

    def states(sentence):
        h, c, steps = torch.zeros(5), torch.zeros(5), []
        for k in reader.encode(" ".join(sentence))["encoder"].indices:
            x = reader.model.encoder.embed_tokens.weight[k]
            z = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h + lstm.bias_hh_l0
            i, f, g, o = z.view(4, 5)
            i, f, o = i.sigmoid(), f.sigmoid(), o.sigmoid()
            c = f * c + i * g.tanh()
            h = o * c.tanh()
            steps.append((i, f, c))
        return steps

    def norm(*parts):
        return sum(float(part @ part) for part in parts) ** 0.5

    with torch.no_grad():
        one, other = states(words), states(["film", "is", "good"])
        (i0, _, _), (i1, f1, c1), (i2, f2, c2), (i3, f3, c3) = one[:4]
        expected = {
            ("forget", negation.TURNS): f2.mean(),
            ("input", negation.TURNS): i2.mean(),
            ("kept", negation.TURNS): norm(i0 * f1 * f2, i1 * f2) / norm(i0 * f1, i1),
            ("change", negation.TURNS): norm(c2 - c1) / norm(c1),
            ("forget", ""): (f3 - other[2][1]).mean(),
            ("input", ""): (i3 - other[2][0]).mean(),
            ("earlier", ""): norm(i0 * f1 * f2 * f3, i1 * f2 * f3)
            / norm(i0 * f1 * other[2][1], i1 * other[2][1]),
            ("memory", ""): norm(c3 - other[2][2]) / norm(other[2][2]),
        }
        tree = parse("(1 (2 Film) (1 (1 (2 is) (1 not)) (3 good)))")
        rows = list(negation._sentence(reader, tree, [*negations(tree)]))
    found = {(name, group): value for name, group, value in rows}
    assert found["forget", negation.SENTIMENT] == pytest.approx(float(f3.mean()), rel=1e-4)
    for key, value in expected.items():
        assert found[key] == pytest.approx(float(value), rel=1e-4), key
    assert found["turned 1", ""] == 1.0 and found["odds 1", ""] < 0


@torch.no_grad()
def test_a_sentence_counts_once_with_all_its_negations(checkpoint) -> None:
    tree = parse("(1 (1 (2 film) (1 (1 not) (3 good))) (1 (1 (2 is) (1 not)) (3 good)))")
    reader = Reader(checkpoint)
    found = [*negation._sentence(reader, tree, [*negations(tree)])]
    values = negation.measured(reader, [tree])
    counted = Counter((name, group) for name, group, _ in found)
    assert counted["earlier", ""] == 2 and counted["forget", negation.FUNCTION] == 1  # of `is`
    assert {*counted} == {*values}
    for key, (mean,) in values.items():
        expected = fmean(value for *of, value in found if (*of,) == key)
        assert mean == pytest.approx(expected)


def test_the_table_of_negation(checkpoint, sentiment) -> None:
    command = ["fairseq-wsum", "negation", checkpoint, "--trees"]
    output = run(*command, *(sentiment / f"data/trees/{split}.txt" for split in ("test", "valid")))
    assert "turns the sign, n = 8" in output  # two of six trees, four times each
    groups = re.search(r"^\| forget gate, mean over units +\|(.*)\|$", output, re.M)[1].split("|")
    assert len({*groups}) == len(groups) == 4


def test_negation_needs_the_classes_of_the_trees_and_a_negator(tmp_path, monkeypatch, capsys):
    (tmp_path / "none.txt").write_text("(3 (2 a) (3 good))")
    for classes, problem in (
        (("yes", "no"), "the classes yes, no; negation"),
        ("01", "has a negator"),
    ):
        labels, cfg = dictionary_of(*classes, "<mask>"), SimpleNamespace(num_classes=len(classes))
        task = SimpleNamespace(label_dictionary=labels, cfg=cfg)
        reader = SimpleNamespace(task=task, model=SimpleNamespace(classification_heads=["head"]))
        monkeypatch.setattr(reader_module, "Reader", lambda *_, reader=reader, **__: reader)
        assert problem in refuses(negation.main, capsys, "m.pt", "--trees", tmp_path / "none.txt")


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    """1.96 * 0.5 / sqrt(100)"""
    shown = negation.shown([0.0] * 50 + [1.0] * 50)
    mean, low, high = map(float, re.findall(r"[\d.]+", shown))
    assert mean == 0.5
    assert (low, high) == (pytest.approx(0.402, abs=0.015), pytest.approx(0.598, abs=0.015))
