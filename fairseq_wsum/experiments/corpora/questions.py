"""Prepare questions for `--task wsum_span_prediction`: files like SQuAD 1.1's, and a dictionary."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from ...argument_types import positive
from ..program import UserError
from .folder import make_words
from .labelled import Kind, add_words

NAMES = {"train": ["train*.json"], "valid": ["valid*.json"], "test": ["dev*.json", "test*.json"]}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of questions."""
    add_words(parser)
    help = "for validation, take N articles of the training set, as far from each other as "
    help += "possible in its file (default: one in twenty, at least 4)"
    parser.add_argument("--valid-articles", type=positive, metavar="N", help=help)


def make(paths: dict[str, Path], folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Make the files of a folder; see `Kind`."""
    from ...plugin.data.questions import read_articles, read_questions

    articles = {split: read_articles(path) for split, path in paths.items()}
    if "valid" not in articles:
        held_out = _held_out(len(articles["train"]), args.valid_articles, paths["train"])
        every = list(enumerate(articles["train"]))
        articles["valid"] = [one for k, one in every if k in held_out]
        articles["train"] = [one for k, one in every if k not in held_out]
    elif args.valid_articles is not None:
        raise UserError(f"{paths['valid']} is for validation; leave out --valid-articles")
    words: Counter[str] = Counter()
    others: Counter[str] = Counter()
    numbers, exact = {}, {}
    for split, own in articles.items():
        path = paths.get(split, paths["train"])
        found = read_questions(path, with_answers=True, articles=own)
        numbers[split] = len(found)
        exact[split] = sum(one.context.part(*one.span) == one.answers[0] for one in found)
        texts = {text for one in found for text in (one.question, one.context)}
        counts = words if split == "train" else others
        counts.update(token.lower() for text in texts for token in text.tokens)
        content = json.dumps({"version": "1.1", "data": own}, ensure_ascii=False)
        (folder / f"{split}.json").write_text(content, "utf-8")
    dictionary = make_words(words, others, args.threshold, args.vectors)
    dictionary.save(str(folder / "dict.txt"))
    share = 100 * exact["train"] / numbers["train"]
    print(f"{share:.1f} % of the training answers are whole tokens")
    return {"questions": numbers, "exact": exact, "dictionary": len(dictionary)}


def _held_out(articles: int, number: int | None, path: Path) -> set[int]:
    """Which articles are for validation: as far from each other as possible in the file."""
    number = max(4, articles // 20) if number is None else number
    if number >= articles:
        raise UserError(
            f"{path} has {articles} articles, of which --valid-articles {number} leaves none for "
            "the training; give fewer, or a file valid.json"
        )
    return {(2 * k + 1) * articles // (2 * number) for k in range(number)}


QUESTIONS = Kind("questions", NAMES, add_options, make, optional=["valid"])
