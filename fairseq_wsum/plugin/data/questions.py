"""Questions about a context, in the JSON of SQuAD 1.1, and as a dataset.

Shapes: B questions, T tokens of a context, J tokens of a question, C bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import regex
import torch
from fairseq.data import Dictionary

from ...files import opened
from ..modules.byte_features import collate_bytes
from .sized import SizedDataset, padded

# Letters with their marks, such as the vowel signs of Hindi; digits; or one other character: an
# answer seldom begins or ends within such a token.
TOKEN = regex.compile(r"(?:\p{L}\p{M}*)+|\d+|\S")
NOISE = 0.1  # of the lengths by which questions are sorted, as in AllenNLP


@dataclass(frozen=True, eq=False)
class Text:
    """A text and its tokens."""

    text: str
    tokens: list[str]
    spans: list[tuple[int, int]]  # the first character of each token, and the one after its last

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
    """A question of a file."""

    id: str
    question: Text
    context: Text  # questions about the same context share it
    answers: tuple[str, ...]  # the references, which are parts of the context
    span: tuple[int, int]  # the first and the last token of the first answer; (0, 0) without one


def read_articles(path: Path) -> list[Any]:
    """The articles of a file in SQuAD's JSON, which may end in .gz.

    Raises:
        ValueError: the file is not JSON in UTF-8, or has no articles.
    """
    try:
        with opened(path) as file:
            articles = [*json.load(file)["data"]]
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
    found: dict[str, Question] = {}
    name = "none"
    try:
        for article in read_articles(path) if articles is None else articles:
            for paragraph in article["paragraphs"]:
                context = Text.of(paragraph["context"])
                for one in paragraph["qas"]:
                    name, question = one["id"], Text.of(one["question"])
                    answers, span = one.get("answers", []), (0, 0)
                    problem = _problem(question, context, answers, with_answers)
                    if name in found:
                        problem = "another question has this id"
                    if problem:
                        raise ValueError(f"{path}, question {name}: {problem}")
                    texts = tuple(answer["text"] for answer in answers)
                    if answers:
                        start = answers[0]["answer_start"]
                        span = context.covering(start, start + len(texts[0]))
                    found[name] = Question(name, question, context, texts, span)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not in the format of SQuAD 1.1 (the last question read: {name}): {error!r}"
        ) from error
    if not found:
        raise ValueError(f"{path} has no questions")
    return [*found.values()]


def _problem(question: Text, context: Text, answers: list[Any], with_answers: bool) -> str:
    """What is wrong with a question, or an empty text."""
    for what, text in (("question", question), ("context", context)):
        if not text.tokens:
            return f"the {what} is empty"
    if with_answers and not answers:
        return "it has no answer; remove questions without one, as in SQuAD 2.0"
    for answer in answers:
        words, start = answer["text"], answer["answer_start"]
        if not words.strip():
            return "an answer is empty"
        if start < 0 or not context.text.startswith(words, start):
            return f"the answer {words!r} is not in the context at its answer_start {start}"
    return ""


class QuestionDataset(SizedDataset):
    """Questions as numbers, for `wsum_bidaf`. The dictionary has words in lower case."""

    def __init__(self, questions: Sequence[Question], words: Dictionary) -> None:
        super().__init__(questions, (len(one.context.tokens) for one in questions))
        self.words = words

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
        inputs = {}
        for name, text in (("src", "context"), ("question", "question")):
            tokens = [getattr(one, text).tokens for one in questions]
            lowered = (map(str.lower, own) for own in tokens)
            inputs[f"{name}_tokens"] = padded(lowered, self.words)
            inputs[f"{name}_bytes"] = collate_bytes(tokens)
        return {
            "id": torch.tensor([k for k, _ in samples]),
            "nsentences": len(samples),
            "ntokens": sum(len(one.context.tokens) for one in questions),
            "net_input": inputs,
            "spans": torch.tensor([one.span for one in questions]),
            "questions": questions,
        }
