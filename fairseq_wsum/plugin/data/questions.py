"""Questions about a context, in the JSON of SQuAD 1.1, and as a dataset.

Shapes: B questions, T tokens of a context, J tokens of a question, C bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary

from ...files import opened
from ..modules.word_features import collate_bytes
from .sized import SizedDataset, indices_of, padded

# Letters, digits, or one other character: an answer seldom begins or ends within such a token.
TOKEN = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")
NOISE = 0.1  # of the lengths by which questions are sorted, as in AllenNLP


@dataclass(frozen=True, eq=False)
class Text:
    """A text and its tokens.

    Attributes:
        text: the text.
        tokens: its tokens.
        spans: the first character of each token, and the one after its last.
    """

    text: str
    tokens: list[str]
    spans: list[tuple[int, int]]

    @classmethod
    def of(cls, text: str) -> Text:
        """A text, split into runs of letters, runs of digits, and single other characters."""
        found = [*TOKEN.finditer(text)]
        return cls(text, [one[0] for one in found], [one.span() for one in found])

    def covering(self, start: int, end: int) -> tuple[int, int]:
        """The first and the last of the tokens that have a character from `start` to `end` - 1."""
        inside = [k for k, span in enumerate(self.spans) if span[1] > start and span[0] < end]
        return inside[0], inside[-1]

    def part(self, first: int, last: int) -> str:
        """The text from one token to another."""
        return self.text[self.spans[first][0] : self.spans[last][1]]


@dataclass(frozen=True, eq=False)
class Question:
    """A question.

    Attributes:
        id: its name in its file.
        question, context: the texts. Questions about the same context share it.
        answers: the reference answers; parts of the context.
        span: the first and the last token of the first answer; (0, 0) without one.
    """

    id: str
    question: Text
    context: Text
    answers: tuple[str, ...]
    span: tuple[int, int]

    @property
    def is_exact(self) -> bool:
        """Whether the first answer is its tokens, without other characters."""
        return self.context.part(*self.span) == self.answers[0]


def read_articles(path: Path) -> list[Any]:
    """The articles of a file in SQuAD's JSON, which may end in .gz.

    Raises:
        ValueError: the file is not JSON in UTF-8, or has no articles.
    """
    with opened(path) as file:
        raw = file.read()
    try:
        articles: list[Any] = json.loads(raw.decode("utf-8-sig"))["data"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a file like SQuAD 1.1's: {error!r}") from error
    return articles


def read_questions(
    path: Path, *, with_answers: bool, articles: list[Any] | None = None
) -> list[Question]:
    """The questions of a file.

    Args:
        path: the file.
        with_answers: whether each must have an answer, as for training.
        articles: of `read_articles`, if they have been read.

    Raises:
        ValueError: the file is not in SQuAD's format, a context, a question or an answer is empty,
            an answer is not in its context, or two questions have the same id.
    """
    articles = read_articles(path) if articles is None else articles
    try:
        found = [*_questions(path, articles, with_answers)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not in the format of SQuAD 1.1: {error!r}") from error
    if not found:
        raise ValueError(f"{path} has no questions")
    return found


def _questions(path: Path, articles: list[Any], with_answers: bool) -> Iterator[Question]:
    seen: set[str] = set()
    for article in articles:
        for paragraph in article["paragraphs"]:
            context = Text.of(paragraph["context"])
            for one in paragraph["qas"]:
                question, answers = Text.of(one["question"]), one.get("answers", [])
                problem = _problem(question, context, answers, with_answers)
                if one["id"] in seen:
                    problem = "another question has this id"
                if problem:
                    raise ValueError(f"{path}, question {one['id']}: {problem}")
                seen.add(one["id"])
                texts, span = tuple(answer["text"] for answer in answers), (0, 0)
                if answers:
                    start = answers[0]["answer_start"]
                    span = context.covering(start, start + len(texts[0]))
                yield Question(one["id"], question, context, texts, span)


def _problem(question: Text, context: Text, answers: list[Any], with_answers: bool) -> str:
    """What is wrong with a question, or an empty text."""
    for what, text in (("question", question), ("context", context)):
        if not text.tokens:
            return f"the {what} is empty"
    if with_answers and not answers:
        return "it has no answer; questions without one, as in SQuAD 2.0, cannot be learned"
    for answer in answers:
        words, start = answer["text"], answer["answer_start"]
        if not words.strip():
            return "an answer is empty"
        if start < 0 or not context.text.startswith(words, start):
            return f"the answer {words!r} is not in the context at its answer_start {start}"
    return ""


class QuestionDataset(SizedDataset):
    """Questions as numbers, for `wsum_bidaf`.

    Args:
        questions: the questions.
        words: the dictionary, of words in lower case.
    """

    def __init__(self, questions: Sequence[Question], words: Dictionary) -> None:
        self.questions, self.words = questions, words
        self.sizes = np.array([len(one.context.tokens) for one in questions])

    def __getitem__(self, index: int) -> tuple[int, Question]:
        return index, self.questions[index]

    def ordered_indices(self) -> Any:
        """From short to long contexts, with noise: a batch has questions about many contexts."""
        noise = np.random.uniform(1 - NOISE, 1 + NOISE, len(self))
        return np.argsort(self.sizes * noise, kind="stable")

    def collater(self, samples: list[tuple[int, Question]]) -> dict[str, Any]:
        """A batch, padded on the right.

        `src_tokens` B x T and `src_bytes` B x T x C are the contexts, `question_tokens` B x J and
        `question_bytes` B x J x C the questions, and `spans` B x 2 the first and the last token of
        each first answer. `questions` has the questions themselves.
        """
        if not samples:
            return {}
        questions = [one for _, one in samples]
        texts = {"src": [one.context for one in questions]}
        texts["question"] = [one.question for one in questions]
        inputs = {}
        for name, own in texts.items():
            numbers = [indices_of(map(str.lower, text.tokens), self.words) for text in own]
            inputs[f"{name}_tokens"] = padded(numbers, self.words.pad())
            inputs[f"{name}_bytes"] = collate_bytes([text.tokens for text in own])
        return {
            "id": torch.tensor([k for k, _ in samples]),
            "nsentences": len(samples),
            "ntokens": sum(len(one.context.tokens) for one in questions),
            "net_input": inputs,
            "spans": torch.tensor([one.span for one in questions]),
            "questions": questions,
        }
