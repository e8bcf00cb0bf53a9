"""Prepare trees with sentiment for fairseq's `--task sentence_prediction`."""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..program import UserError
from .folder import encode, make_dictionary
from .reading import read_text
from .sentiment_trees import Tree, read_trees

NAMES = {"train": ["train.txt"], "valid": ["dev.txt", "valid.txt"], "test": ["test.txt"]}
OPTIONAL: list[str] = []
Example = tuple[int, tuple[str, ...]]  # the class, from 0, and the words


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of trees with sentiment."""
    help = "number of classes: 5, or 2 for negative and positive (default 5)"
    parser.add_argument("--labels", type=int, choices=(2, 5), default=5, help=help)


def make(paths: dict[str, Path], folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Make the files of a folder; see labelled.py."""
    for name in ("trees", "input0", "label"):
        (folder / name).mkdir()
    found: dict[str, list[Example]] = {}
    for split, path in paths.items():
        (folder / f"trees/{split}.txt").write_bytes(read_text(path))
        found[split] = examples(read_trees(path), args.labels, split == "train")
    if len({label for label, _ in found["train"]}) < 2:
        raise UserError(
            f"{paths['train']} has one class alone; labels go from 0 (very negative) over 2 "
            "(neutral) to 4 (very positive)"
        )
    # fairseq makes batches of neighbours: with --no-shuffle, of phrases of the same length
    random.Random(0).shuffle(found["train"])
    found["train"].sort(key=lambda example: len(example[1]))
    words = Counter(word for _, sentence in found["train"] for word in sentence)
    dictionary, classes = make_dictionary(words), make_dictionary({})
    for label in range(args.labels):  # in this order, so that the class of a label is itself
        classes.add_symbol(str(label), sum(label == k for k, _ in found["train"]))
    dictionary.save(str(folder / "input0/dict.txt"))
    classes.save(str(folder / "label/dict.txt"))
    for split, chosen in found.items():
        encode(folder / "input0" / split, (list(words) for _, words in chosen), dictionary)
        encode(folder / "label" / split, ([str(k)] for k, _ in chosen), classes)
    counts = {split: len(chosen) for split, chosen in found.items()}
    return {"examples": counts, "dictionary": len(dictionary)}


def examples(trees: Iterable[Tree], labels: int, phrases: bool = False) -> list[Example]:
    """The sentences of trees, or all phrases; the same phrase with the same class once.

    Two `labels` are negative and positive, without what is neutral; otherwise there are five.
    """
    parts = [part for tree in trees for part in (tree.phrases() if phrases else (tree,))]
    found = [(part.label, part.words) for part in parts]
    if labels == 2:
        found = [(int(part.side > 0), part.words) for part in parts if part.side]
    return list(dict.fromkeys(found)) if phrases else found
