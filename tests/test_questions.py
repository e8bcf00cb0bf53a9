"""Questions in SQuAD's format: tokens, spans, scores of answers, preparation, batches."""

import gzip
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("fairseq")
from questions import article, write_questions
from shell import prepare_here
from translation import dictionary_of

from fairseq_wsum.experiments.corpora.folder import load_dictionary
from fairseq_wsum.experiments.corpora.questions import _held_out
from fairseq_wsum.plugin.data.answer_scores import exact_match, f1, scores
from fairseq_wsum.plugin.data.questions import QuestionDataset, Text, read_questions

TEXTS = [
    "",
    " \n",
    "He's 5'11\" (1.80m) tall.",
    "a_b\tc-d…e",
    "Été n°3 中文 x²\r\n\u0661\u0662 x\u0301y\u200b",
]


@pytest.mark.parametrize("text", TEXTS)
def test_each_token_is_the_text_of_its_span(text) -> None:
    found = Text.of(text)
    assert [text[start:end] for start, end in found.spans] == found.tokens
    assert "".join(found.tokens) == re.sub(r"\s", "", text)  # nothing else is left out
    assert found.spans == sorted(found.spans)


def test_letters_digits_and_other_characters_are_apart() -> None:
    tokens = Text.of("It's 12kg/m_2 (é)").tokens
    assert " ".join(tokens) == "It ' s 12 kg / m _ 2 ( é )"
    tokens = Text.of("हिन्दी, cafe\u0301s 1\u0301").tokens
    assert tokens == ["हिन्दी", ",", "cafe\u0301s", "1", "\u0301"]


def test_the_smallest_span_of_tokens_covers_an_answer() -> None:
    text = Text.of("the  Normans' 12th king")  # the Normans ' 12 th king
    for answer, span, part in (
        ("Normans", (1, 1), "Normans"),
        ("orm", (1, 1), "Normans"),
        ("s' 1", (1, 3), "Normans' 12"),
        (" king", (5, 5), "king"),
        (text.text, (0, 5), text.text),
    ):
        start = text.text.index(answer)
        assert text.covering(start, start + len(answer)) == span
        assert text.part(*span) == part


@pytest.mark.parametrize(
    ("answer", "references", "em", "f"),
    [
        ("The cat", ["cat"], 1, 1),
        ("cat, the  dog!", ["a CAT dog"], 1, 1),
        ("cat dog", ["dog cat"], 0, 1),
        ("cat", ["cat dog"], 0, 2 / 3),
        ("cat cat dog", ["cat mouse"], 0, 2 / 5),  # the second cat has no partner
        ("cat", ["dog"], 0, 0),
        ("x", ["dog", "x y z", "x y"], 0, 2 / 3),  # the best of three
        ("theatre", ["atre"], 0, 0),  # "the" is part of a word
        ("U.S.", ["us"], 1, 1),
        ("the", ["a"], 1, 0),  # both are empty once normalised: they match, and share no word
        ("don\u2019t", ["dont"], 0, 0),  # only ASCII punctuation is left out
    ],
)
def test_the_scores_of_an_answer(answer, references, em, f) -> None:
    assert exact_match(answer, references) == em
    assert f1(answer, references) == pytest.approx(f)


def test_the_scores_are_means_over_all_questions() -> None:
    found = scores([("a b", ["b"]), ("c", ["c d"]), ("x", ["e"])])
    assert found == pytest.approx({"F1": 100 * (1 + 2 / 3) / 3, "EM": 100 / 3})


CONTEXT = "Ab cd-ef.\r\nGh"
GOOD = article((CONTEXT, [("q1", "Ab?", ["Ab", "cd"]), ("q2", "Gh?", ["f.\r\nG"])]))


def test_questions_are_read(tmp_path) -> None:
    text = json.dumps({"data": [GOOD]}, indent=1).replace("\n", "\r\n")  # of Windows
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.json", "a.json.gz"):
        first, second = read_questions(tmp_path / name, with_answers=True)
        assert (first.id, first.answers, first.span) == ("q1", ("Ab", "cd"), (0, 0))
        assert second.span == (3, 5) and second.context.part(*second.span) == "ef.\r\nGh"
        assert first.context is second.context


def changed(**of_question) -> str:
    """A file whose second question is changed."""
    paragraph = GOOD["paragraphs"][0]
    one, other = paragraph["qas"]
    paragraphs = [{**paragraph, "qas": [one, {**other, **of_question}]}]
    return json.dumps({"data": [{"paragraphs": paragraphs}]})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not a file like SQuAD 1.1's: JSONDecodeError"),
        ('{"data": "é"}'.encode("latin-1"), "is not a file like SQuAD 1.1's: UnicodeDecodeError"),
        ("[1, 2]", "is not a file like SQuAD 1.1's: TypeError"),
        ('{"data": null}', "is not a file like SQuAD 1.1's: TypeError"),
        ('{"version": "1.1"}', "is not a file like SQuAD 1.1's: KeyError('data')"),
        ('{"data": [{"title": "x"}]}', "SQuAD 1.1 (the last question read: none): KeyError('pa"),
        ('{"data": []}', "has no questions"),
        (changed(question=" \r\n"), "question q2: the question is empty"),
        (changed(id="q1"), "question q1: another question has this id"),
        (changed(answers=[]), "question q2: it has no answer; remove questions without one"),
        (changed(answers=[{"text": "Ab", "answer_start": 1}]), "the answer 'Ab' is not in the con"),
        (changed(answers=[{"text": "f.\nG", "answer_start": 7}]), "q2: the answer 'f.\\nG' is not"),
        (changed(answers=[{"text": "Gh", "answer_start": -2}]), "its answer_start -2"),
        (changed(answers=[{"text": " ", "answer_start": 2}]), "question q2: an answer is empty"),
        (changed(answers=[{"text": "Ab"}]), "(the last question read: q2): KeyError('answer_start"),
        (json.dumps({"data": [article((" ", [("q", "x", [])]))]}), "question q: the context is em"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_question(text, problem, tmp_path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(problem)) as error:
        read_questions(path, with_answers=True)
    assert str(error.value).startswith(f"{path}")


def test_the_articles_of_one_file_are_divided(tmp_path, capsys) -> None:
    raw, out = write_questions(tmp_path / "raw", train=7), tmp_path / "data"
    prepare_here("questions", "--data", raw, "--out", out, "--threshold", 1)
    said = capsys.readouterr().out
    assert "train 12, test 8, valid 16" in said and "% of the training answers are" in said
    found = {
        split: read_questions(out / f"{split}.json", with_answers=True)
        for split in ("train", "valid", "test")
    }
    ids = {split: {one.id.split("-")[1] for one in own} for split, own in found.items()}
    assert ids == {"train": {*"135"}, "valid": {*"0246"}, "test": {*"01"}}
    record = json.loads((out / "prepared.json").read_text())
    assert record["questions"] == {"train": 12, "test": 8, "valid": 16}
    assert 0 < record["exact"]["train"] <= 12
    texts = [text for one in found["train"] for text in (one.question, one.context)]
    words = {token.lower() for text in texts for token in text.tokens}
    assert {*load_dictionary(out / "dict.txt").symbols[4:]} == words


@pytest.mark.parametrize(("articles", "number"), [(5, 4), (100, 5)])
def test_a_twentieth_of_the_articles_is_for_validation(articles, number) -> None:
    assert len(_held_out(articles, Path("train.json"))) == number


def test_a_file_for_validation_is_taken(tmp_path) -> None:
    raw = write_questions(tmp_path / "raw")
    text = json.dumps({"data": [article(("New never", [("q", "new", ["New"])]))]})
    (raw / "valid.json.gz").write_bytes(gzip.compress(text.encode()))
    prepare_here("questions", "--data", raw, "--out", tmp_path / "data", "--threshold", 1)
    record = json.loads((tmp_path / "data/prepared.json").read_text())
    assert record["questions"] == {"train": 32, "valid": 1, "test": 8}
    assert "new" not in load_dictionary(tmp_path / "data/dict.txt").indices


def test_a_batch_has_words_bytes_and_spans(tmp_path) -> None:
    words = dictionary_of("ab", "cd", ".", "gh", "éf", "?")  # 4 to 9
    data = [GOOD, article(("éf", [("q3", "zz éf?", ["éf"])]))]
    (tmp_path / "b.json").write_text(json.dumps({"data": data}))
    dataset = QuestionDataset(read_questions(tmp_path / "b.json", with_answers=True), words)
    batch = dataset.collater([dataset[1], dataset[2]])
    unk, pad, inputs = words.unk(), words.pad(), batch["net_input"]
    assert inputs["src_tokens"].tolist() == [[4, 5, unk, unk, 6, 7], [8, *[pad] * 5]]
    assert inputs["question_tokens"].tolist() == [[7, 9, pad], [unk, 8, 9]]
    assert inputs["question_bytes"][1].tolist() == [
        [ord("z") + 1, ord("z") + 1, 0],
        [0xC3 + 1, 0xA9 + 1, ord("f") + 1],
        [ord("?") + 1, 0, 0],
    ]
    assert batch["spans"].tolist() == [[3, 5], [0, 0]]
    assert (batch["nsentences"], batch["ntokens"]) == (2, 7)
