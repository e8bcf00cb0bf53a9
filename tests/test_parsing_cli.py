"""Dependency parsing with the real commands: recipe, training, fairseq-wsum parse and weights."""

import gzip
import json
from types import SimpleNamespace

import numpy
import pytest

pytest.importorskip("fairseq")
pytest.importorskip("ufal.chu_liu_edmonds")
from commands import ROOT, assert_same_weights, every_cells_options, run, train
from shell import refuses
from treebanks import conllu

from fairseq_wsum.experiments import parse
from fairseq_wsum.experiments.model import load_model
from fairseq_wsum.experiments.program import PACKAGE, UserError
from fairseq_wsum.plugin.data.treebank import read_treebank

RECIPE = ROOT / "examples/dependency_parsing_ewt/parser.sh"
SIZES = ["--encoder-embed-dim", "6", "--encoder-hidden-size", "5", "--character-features", "4"]
SIZES += ["--character-embedding-dim", "3", "--arc-features", "6", "--relation-features", "5"]
TINY = [*SIZES, "--encoder-layers", 1, "--max-tokens", 40]
OPTIONS = "--task wsum_dependency_parsing --arch wsum_biaffine_parser --optimizer adam"
OPTIONS += " --criterion wsum_parsing_loss --lr 0.01 --no-epoch-checkpoints"
TRAINING = [*OPTIONS.split(), *TINY, "--cell", "no-srnn-hidden"]


def test_the_command_prepares_a_treebank(treebank, tmp_path) -> None:
    run("fairseq-wsum", "prepare", "treebank", "--data", treebank, "--out", tmp_path / "data")
    for path in (treebank / "data").glob("dict.*"):
        assert (tmp_path / "data" / path.name).read_bytes() == path.read_bytes()


def test_the_recipe_trains_and_scores(treebank, tmp_path) -> None:
    recipe = ["bash", RECIPE, "--own-corpus", "--data", treebank, "--out", tmp_path]
    output = run(*recipe, "--epochs", 2, "--gpus", 0, *TINY, "--tags", "xpos")
    folder = tmp_path / "lstm/epochs-2-seed-1"
    figures = json.loads((folder / "figures.json").read_text())
    assert [*figures] == ["way", "valid", "test"]
    assert f"test: LAS {figures['test']['LAS']:.2f}, UAS" in output
    best, data = folder / "checkpoint_best.pt", tmp_path / "data"
    model = load_model(best, "wsum_biaffine_parser", cpu=True, user_dir=str(PACKAGE), data=data)
    for subset, file in (("valid", "dev.conllu"), ("test", "test.conllu")):
        parsed, scores = parse.parse(*model, treebank / file, True)
        gold = read_treebank(treebank / file, with_trees=True)
        trees = [(a.heads, b.heads) for a, b in zip(gold, parsed, strict=True)]
        right = [head == found for pair in trees for head, found in zip(*pair, strict=True)]
        assert figures[subset] == scores and 0 < sum(right) < len(right)
        assert scores["UAS"] == pytest.approx(100 * sum(right) / len(right))


@pytest.fixture(scope="module")
def checkpoint(treebank, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    train(treebank / "data", folder, *TRAINING, "--max-epoch", 2)
    return folder / "checkpoint_best.pt"


def test_a_resumed_training_equals_an_uninterrupted_one(checkpoint, treebank, tmp_path) -> None:
    train(treebank / "data", tmp_path, *TRAINING, "--max-update", 5)
    log = train(treebank / "data", tmp_path, *TRAINING, "--max-epoch", 2)
    assert "Loaded checkpoint" in log and "| uas " in log and "| las " in log
    assert_same_weights(tmp_path, checkpoint.parent)


@every_cells_options(usual=("no-gates",))
def test_every_cell_trains(cell, treebank, tmp_path) -> None:
    assert "| las " in train(treebank / "data", tmp_path, *TRAINING, *cell, "--max-update", 2)


def test_text_is_parsed(checkpoint) -> None:
    lines = run("fairseq-wsum", "parse", checkpoint, stdin="Ab cd !\n\néf\n").splitlines()
    rows = [line.split("\t") for line in lines if line[:1].isdigit()]
    assert [row[:2] for row in rows] == [["1", "Ab"], ["2", "cd"], ["3", "!"], ["1", "éf"]]
    assert [row[6] for row in rows[:3]].count("0") == 1
    assert rows[3][6] == "0"
    assert {row[7] for row in rows} <= {"nsubj", "nsubj:pass", "obj", "root"}
    assert all((row[6] == "0") == (row[7] == "root") for row in rows)


def test_a_treebank_is_parsed_and_the_rest_of_it_kept(checkpoint, tmp_path) -> None:
    extra = "2-3\tcdéf" + "\t_" * 8 + "\n"
    text = "# a comment = 1\n" + conllu("Ab NOUN 2 obj", "cd VERB 0 root", "éf X 2 obj")
    text = text.replace("2\tcd", extra + "2\tcd")
    (tmp_path / "in.conllu").write_text(text)
    command = ["fairseq-wsum", "parse", checkpoint, "--input", tmp_path / "in.conllu", "--scores"]
    output = run(*command, "--output", tmp_path / "out.conllu")
    assert "LAS: " in output and "UAS without punctuation: " in output
    rows = [line.split("\t") for line in text.splitlines()]
    parsed = (tmp_path / "out.conllu").read_text().splitlines()
    for before, after in zip(rows, (line.split("\t") for line in parsed), strict=True):
        assert before[:6] + before[8:] == after[:6] + after[8:]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--scores"], "--scores needs the trees of a file --input FILE.conllu"),
        (["--output", "{}/bad.conll"], "bad.conll exists; give another name"),
        (["--input", "{}/bad.conll"], "--input: this is CoNLL-U; give a file whose name ends in"),
        (["--input", "{}/bad.conllu"], "bad.conllu, line 1: a line has 10 columns"),
        (["--input", "{}/latin.txt"], "latin.txt is not UTF-8 text"),
        (["--input", "{}/none.txt"], "--input: [Errno 2] No such file or directory: "),
    ],
)
def test_mistakes_of_parse(options, problem, checkpoint, tmp_path, capsys) -> None:
    (tmp_path / "bad.conllu").write_text("no columns\n")
    (tmp_path / "bad.conll").write_text(conllu("Ab NOUN 0 root"))
    (tmp_path / "latin.txt").write_bytes(b"\xe9\n")
    given = [option.format(tmp_path) for option in options]
    assert problem in refuses(parse.main, capsys, checkpoint, *given)


def test_a_text_may_be_compressed(tmp_path) -> None:
    (tmp_path / "in.txt.gz").write_bytes(gzip.compress("\ufeffAb cd !\n\néf\n".encode()))
    sentences = parse.read_sentences(tmp_path / "in.txt.gz", with_trees=False)
    assert [one.words for one in sentences] == [["Ab", "cd", "!"], ["éf"]]


def test_a_model_that_reads_tags_needs_some(tmp_path) -> None:
    (tmp_path / "in.conllu").write_text(conllu("Ab _ 0 root"))
    with pytest.raises(UserError, match="the model reads tags; give CoNLL-U with a column upos"):
        parse.parse(None, SimpleNamespace(tags=(None, "upos")), tmp_path / "in.conllu", False)


def test_the_weights_of_a_parser(checkpoint, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    weights, trees = ["fairseq-wsum", "weights", checkpoint], tmp_path / "trees"
    given = [*weights, "--sentence", "Ab new cd", "--arrays", tmp_path / "a.npz"]
    given += ["--tables", tmp_path / "tables", "--page", tmp_path / "a.html"]
    run(*given, "--picture", tmp_path / "a.svg")
    found = numpy.load(tmp_path / "a.npz")
    assert [*found["0/encoder/1/tokens"]] == ["<s>", "Ab", "new <unk>", "cd"]
    assert found["0/encoder/1/backward/norms"].shape == (4, 4)
    text = conllu("Ab NOUN 2 obj", "cd VERB 0 root", "éf X 2 obj").replace("cd", "10 000")
    (tmp_path / "a.conllu").write_text(text)
    run(*weights, "--treebank", tmp_path / "a.conllu", "--tables", trees)
    assert "10 000" in (trees / "words.tsv").read_text()
    assert "forward\tkept_1\tcontent" in (trees / "syntax.tsv").read_text()
    run(*weights, "--sentence", "Ab cd", "--overwrite", "--tables", trees)
    assert not (trees / "syntax.tsv").exists()
