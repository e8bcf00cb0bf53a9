"""Prepare a treebank for `--task wsum_dependency_parsing`: its files, and its dictionaries."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from ..program import UserError
from .folder import make_dictionary
from .labelled import add_words, save_words
from .reading import read_text

NAMES = {
    "train": ["*train.conllu"],
    "valid": ["*dev.conllu", "*valid.conllu"],
    "test": ["*test.conllu"],
}
OPTIONAL: list[str] = []
add_options = add_words
COLUMNS = ("upos", "xpos", "deprel")  # with a dictionary each


def make(paths: dict[str, Path], folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Make the files of a folder; see labelled.py."""
    from ...plugin.data.treebank import read_treebank

    words: dict[str, Counter[str]] = {}
    values: dict[str, Counter[str]] = {column: Counter() for column in COLUMNS}
    sentences = {}
    for split, path in paths.items():
        (folder / f"{split}.conllu").write_bytes(read_text(path))
        found = [*read_treebank(path, with_trees=True)]
        if not found:
            raise UserError(f"{path} has no sentences; give a treebank in CoNLL-U")
        sentences[split] = len(found)
        words[split] = Counter(word.lower() for one in found for word in one.words)
        if split == "train":
            for column in COLUMNS:
                values[column].update(value for one in found for value in one.column(column))
    size = save_words(folder, words, args)
    for column in COLUMNS:
        make_dictionary(values[column]).save(str(folder / f"dict.{column}.txt"))
    totals = {split: counts.total() for split, counts in words.items()}
    return {"words": totals, "dictionary": size, "sentences": sentences}
