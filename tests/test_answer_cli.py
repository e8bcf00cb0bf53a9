"""Question answering with the real commands: recipe, training, fairseq-wsum answer and weights."""

import json

import pytest

pytest.importorskip("fairseq")
from commands import ROOT, assert_same_weights, every_cells_options, run, train
from questions import article
from shell import refuses

from fairseq_wsum.experiments import answer
from fairseq_wsum.plugin.data.answer_scores import scores
from fairseq_wsum.plugin.data.questions import read_questions

RECIPE = ROOT / "examples/question_answering_squad/squad.sh"
TINY = ["--encoder-embed-dim", 6, "--encoder-hidden-size", 5, "--character-features", 4]
TINY += ["--character-embedding-dim", 3, "--batch-size", 5]
OPTIONS = "--task wsum_span_prediction --arch wsum_bidaf --criterion wsum_span_loss"
OPTIONS += " --optimizer adam --lr 0.01 --no-epoch-checkpoints --cell no-srnn"
TRAINING = [*OPTIONS.split(), *TINY, "--best-checkpoint-metric", "f1"]
TRAINING.append("--maximize-best-checkpoint-metric")


def test_the_recipe_trains_and_scores(questions, tmp_path) -> None:
    recipe = ["bash", RECIPE, "--own-corpus", "--data", questions, "--out", tmp_path]
    output = run(*recipe, "--epochs", 1, "--gpus", 0, *TINY)
    folder = tmp_path / "lstm/epochs-1-seed-1"
    figures = json.loads((folder / "figures.json").read_text())
    assert [*figures] == ["way", "valid", "test"]
    assert f"test: F1 {figures['test']['F1']:.2f}, EM" in output
    assert 0 <= figures["test"]["EM"] <= figures["test"]["F1"] <= 100
    answers = json.loads((folder / "predictions.json").read_text())
    assert {*answers} == {f"dev-{k}-{n}" for k in range(2) for n in range(4)}
    asked = read_questions(questions / "dev.json", with_answers=True)
    assert figures["test"] == scores([(answers[one.id], one.answers) for one in asked])


@pytest.fixture(scope="module")
def checkpoint(questions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    train(questions / "data", folder, *TRAINING, "--max-epoch", 2)
    return folder / "checkpoint_best.pt"


def test_a_resumed_training_equals_an_uninterrupted_one(checkpoint, questions, tmp_path) -> None:
    train(questions / "data", tmp_path, *TRAINING, "--max-update", 6)  # of 4 an epoch
    log = train(questions / "data", tmp_path, *TRAINING, "--max-epoch", 2)
    assert "Loaded checkpoint" in log and "| f1 " in log and "| em " in log
    assert_same_weights(tmp_path, checkpoint.parent)


@every_cells_options(usual=("no-gates",))
def test_every_cell_trains(cell, questions, tmp_path) -> None:
    assert "| f1 " in train(questions / "data", tmp_path, *TRAINING, *cell, "--max-update", 2)


def test_questions_without_answers_are_answered(checkpoint, tmp_path) -> None:
    context = "Ab (cd) 12kg\r\nx"
    text = json.dumps({"data": [article((context, [("1", "éf?", []), ("2", "ab", [])]))]})
    (tmp_path / "in.json").write_text(text)
    command = ["fairseq-wsum", "answer", checkpoint, "--input", tmp_path / "in.json"]
    run(*command, "--output", tmp_path / "out.json")
    answers = json.loads((tmp_path / "out.json").read_bytes())
    assert [*answers] == ["1", "2"] and all(one and one in context for one in answers.values())
    assert json.loads(run(*command)) == answers


def test_the_weights_of_a_model_with_questions(checkpoint, tmp_path) -> None:
    numpy = pytest.importorskip("numpy")
    given = ["fairseq-wsum", "weights", checkpoint, "--sentence", "Ab new (cd"]
    output = run(*given, "--arrays", tmp_path / "b.npz", check=False)
    assert "give the question about the sentence as --target-sentence" in output
    output = run(*given, "--target-sentence", "", "--arrays", tmp_path / "b.npz", check=False)
    assert "the sentence, and a question about it, need a word each" in output
    run(*given, "--target-sentence", "éf ab?", "--arrays", tmp_path / "a.npz")
    found = numpy.load(tmp_path / "a.npz")
    assert [*found["0/encoder/1/tokens"]] == ["Ab", "new <unk>", "(", "cd"]
    assert {name.split("/")[2] for name in found if "encoder" in name} == {*"1234"}
    for layer in range(1, 5):
        assert found[f"0/encoder/{layer}/backward/norms"].shape == (4, 4)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--input", "none.json"], "No such file or directory: 'none.json'"),
        (["--input", "{}/in.json", "--scores"], "in.json, question 1: it has no answer"),
    ],
)
def test_mistakes_of_answer(options, problem, checkpoint, tmp_path, capsys) -> None:
    text = json.dumps({"data": [article(("Ab", [("1", "cd", [])]))]})
    (tmp_path / "in.json").write_text(text)
    given = [option.format(tmp_path) for option in options]
    assert problem in refuses(answer.main, capsys, checkpoint, *given)
