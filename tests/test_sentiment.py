"""Trees with sentiment: phrases and negation by hand, the prepared data, and mistakes in files."""

import dataclasses
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("fairseq")
from sentiment_trees import TREES, write_trees
from text_corpora import decoded

from fairseq_wsum.experiments.corpora import prepare
from fairseq_wsum.experiments.corpora.sentiment import examples
from fairseq_wsum.experiments.corpora.sentiment_trees import negations, parse, plain, read_trees
from fairseq_wsum.experiments.program import UserError


def texts(found) -> list[str]:
    return [f"{label} {' '.join(words)}" for label, words in found]


def test_the_phrases_of_three_trees_by_hand() -> None:
    trees = [parse(TREES[k]) for k in (1, 2, 3)]
    assert texts(examples(trees, 5)) == ["1 film is not good", "4 a good film", "0 bad film"]
    all_five = "1 film is not good|2 film|1 is not good|1 is not|2 is|1 not|3 good|4 a good film|"
    all_five += "2 a|4 good film|4 good|0 bad film|1 bad"
    assert sorted(texts(examples(trees, 5, phrases=True))) == sorted(all_five.split("|"))
    # without what is neutral; "good" is positive twice and counts once
    two = "0 film is not good|0 is not good|0 is not|0 not|1 good|1 a good film|1 good film|"
    two += "0 bad film|0 bad"
    assert sorted(texts(examples(trees, 2, phrases=True))) == sorted(two.split("|"))
    assert examples([parse(TREES[4])], 2) == []


@pytest.mark.parametrize(
    ("tree", "expected"),
    [  # negator, end of its phrase, side of the phrase, whether it turns
        (TREES[0], []),
        (TREES[1], [(2, 4, 1, True)]),
        (TREES[5], [(2, 4, -1, True)]),
        ("(1 (2 not) (1 bad))", [(0, 2, -1, False)]),  # still negative
        ("(2 (2 not) (3 good))", [(0, 2, 1, False)]),  # neutral is not the other side
        ("(1 (3 good) (2 not))", []),  # the phrase does not follow
        ("(1 (2 (2 he) (2 (2 did) (2 not))) (3 like))", []),  # three words
        (
            "(1 (2 no) (3 (2 (2 a) (2 film)) (3 (2 never) (1 bad))))",
            [(0, 5, 1, True), (3, 5, -1, True)],
        ),
    ],
)
def test_negations_by_hand(tree, expected) -> None:
    found = negations(parse(tree))
    assert [(one.negator, one.end, one.side, one.turns) for one in found] == expected


def test_words_lose_their_escapes() -> None:
    words = {"-LRB-": "(", "``": '"', "''": '"', "a\\/B": "a/b", "\\*\\*": "**", "2\xa01": "2-1"}
    assert {word: plain(word) for word in words} == words
    assert parse("(2 (2 -RRB-) (3 N'T))").words == (")", "n't")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("(2 a)\n(2 (2 a) (2 b)\n", "line 2: brackets are not balanced"),
        ("(2 a))\n", "line 1: ')' follows the tree"),
        ("(2 a) (2 b)\n", "line 1: '(2 b)' follows the tree"),
        ("\r\n(7 a)\r\n", "line 2: there is no label from 0 to 4"),
        ("(2 (a) (2 b))\n", "line 1: there is no label from 0 to 4 with a word or phrases at '(a)"),
        ("(2 a (2 b))\n", "line 1: there is no label from 0 to 4 with a word or phrases at"),
        ("(2 a b)\n", "line 1: there is no label from 0 to 4 with a word or phrases at '(2 a b)'"),
        ("(2)\n", "line 1: there is no label from 0 to 4 with a word or phrases at"),
        ("good\n", "line 1: there is no label from 0 to 4 with a word or phrases at 'good'"),
        ("(2 (2 <s>) (2 a))\n", "line 1: <s> is a symbol of fairseq"),
        ("\n", "is empty; give a tree on each line"),
        (b"(2 \xff)\n", "is not UTF-8 text"),
    ],
)
def test_mistakes_in_trees(text, problem, tmp_path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        read_trees(path)
    assert problem in str(error.value) and str(path) in str(error.value)


def read(folder: Path, split: str) -> list[str]:
    """The examples of a prepared folder, as fairseq reads them."""
    parts = (decoded(folder / kind, split) for kind in ("label", "input0"))
    return [" ".join([*label[:-1], *words[:-1]]) for label, words in zip(*parts, strict=True)]


def test_trees_are_prepared_for_fairseq(tmp_path) -> None:
    raw, out = write_trees(tmp_path / "raw"), tmp_path / "out"
    (raw / "dev.txt").write_bytes("\r\n".join(TREES).encode())
    prepare.main(["sentiment", "--data", str(raw), "--out", str(out), "--labels", "2"])
    trees = [parse(tree) for tree in TREES]
    assert read(out, "valid") == texts(examples(trees, 2))
    train = read(out, "train")
    assert sorted(train) == sorted(texts(examples(trees, 2, phrases=True)))
    lengths = [line.count(" ") for line in train]
    assert lengths == sorted(lengths)
    assert len(read_trees(out / "trees/test.txt")) == 2 * len(TREES)  # with the neutral ones


def test_an_archive_is_unpacked_and_its_files_checked(tmp_path, monkeypatch) -> None:
    archive = tmp_path / "trees.zip"
    there = dataclasses.replace(prepare.CORPORA["sst"], url=archive.as_uri())
    monkeypatch.setitem(prepare.CORPORA, "sst", there)
    command = ["sst", "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    archive.write_text("<html>")
    with pytest.raises(OSError, match=r"archive\.zip is not a zip file"):
        prepare.main(command)
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("train", "dev", "test"):
            file.writestr(f"trees/{name}.txt", TREES[0])
    with pytest.raises(UserError, match=r"train\.txt is not the published train\.txt"):
        prepare.main(command)
