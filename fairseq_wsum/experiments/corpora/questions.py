"""Prepare questions for `--task wsum_span_prediction`: files like SQuAD 1.1's, and a dictionary."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from ..program import UserError
from .labelled import add_words, save_words

NAMES = {"train": ["train*.json"], "valid": ["valid*.json"], "test": ["dev*.json", "test*.json"]}
OPTIONAL = ["valid"]
add_options = add_words


def make(paths: dict[str, Path], folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Make the files of a folder; see labelled.py."""
    from ...plugin.data.questions import read_articles, read_questions

    articles = {split: read_articles(path) for split, path in paths.items()}
    if "valid" not in articles:
        held_out = _held_out(len(articles["train"]), paths["train"])
        every = list(enumerate(articles["train"]))
        articles["valid"] = [one for k, one in every if k in held_out]
        articles["train"] = [one for k, one in every if k not in held_out]
    words, numbers, exact = {}, {}, {}
    for split, own in articles.items():
        path = paths.get(split, paths["train"])
        found = read_questions(path, with_answers=True, articles=own)
        numbers[split] = len(found)
        exact[split] = sum(one.context.part(*one.span) == one.answers[0] for one in found)
        texts = {text for one in found for text in (one.question, one.context)}
        words[split] = Counter(token.lower() for text in texts for token in text.tokens)
        content = json.dumps({"version": "1.1", "data": own}, ensure_ascii=False)
        (folder / f"{split}.json").write_text(content, "utf-8")
    share = 100 * exact["train"] / numbers["train"]
    print(f"{share:.1f} % of the training answers are whole tokens")
    return {"questions": numbers, "exact": exact, "dictionary": save_words(folder, words, args)}


def _held_out(articles: int, path: Path) -> set[int]:
    """The articles for validation: one in twenty, at least 4, as far apart as possible."""
    number = max(4, articles // 20)
    if number >= articles:
        raise UserError(f"{path} has {articles} articles: give a file valid.json for validation")
    return {(2 * k + 1) * articles // (2 * number) for k in range(number)}
