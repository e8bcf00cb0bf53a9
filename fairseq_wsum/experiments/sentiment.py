"""Prepare sentences with a sentiment for fairseq's `--task sentence_prediction`."""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .corpora import SST_ARCHIVE, Corpus, check_line, find_files, read_lines, read_text, unpack
from .files import UserError, listed, versions
from .folder import encode, is_done, make_dictionary, new_folder, write_record
from .sentiment_trees import Tree, read_trees

NAMES = {
    split: [f"{name}.{ending}" for name in names for ending in ("txt", "tsv")]
    for split, names in (("train", ["train"]), ("valid", ["dev", "valid"]), ("test", ["test"]))
}
Example = tuple[int, tuple[str, ...]]  # the class, from 0, and the words


def prepare(corpus: Corpus | None, args: argparse.Namespace) -> None:
    """Prepare the published trees, or trees or sentences of one's own in --data."""
    name = "sentiment" if corpus is None else corpus.name
    settings: dict[str, Any] = {"corpus": name, "script": f"prepare {name}"}
    settings |= {"labels": args.labels, "phrases": args.phrases}
    own = None if corpus is not None else lambda: find_files(None, args, NAMES)[1]
    if is_done(args.out, settings, own):
        return
    with new_folder(args.out) as partial:
        unpacked, where = partial / "unpacked", args
        if corpus is not None and args.data is None:
            unpack(corpus.find(SST_ARCHIVE, None, args.cache), corpus.sha256, unpacked)
            where = argparse.Namespace(data=unpacked, cache=None)
        paths, sums = find_files(corpus, where, NAMES)
        found: dict[str, list[Example]] = {}
        (partial / "trees").mkdir()
        for split, path in paths.items():
            if ".tsv" in path.suffixes:
                found[split] = read_sentences(path, args.labels)
                continue
            (partial / f"trees/{split}.txt").write_bytes(read_text(path))
            phrases = split == "train" and args.phrases
            found[split] = examples(read_trees(path), args.labels, phrases)
        shutil.rmtree(unpacked, ignore_errors=True)
        # fairseq makes batches of neighbours: with --no-shuffle, of phrases of the same length
        random.Random(0).shuffle(found["train"])
        found["train"].sort(key=lambda example: len(example[1]))
        words = Counter(word for _, sentence in found["train"] for word in sentence)
        dictionary = make_dictionary(words, 1, None, padding=1)
        classes = make_dictionary({}, 1, None, padding=1)
        for label in range(args.labels):  # in this order, so that the class of a label is itself
            classes.add_symbol(str(label), sum(label == k for k, _ in found["train"]))
        for kind, symbols in (("input0", dictionary), ("label", classes)):
            (partial / kind).mkdir()
            symbols.save(str(partial / kind / "dict.txt"))
        for split, chosen in found.items():
            encode(partial / "input0" / split, (list(words) for _, words in chosen), dictionary)
            encode(partial / "label" / split, ([str(k)] for k, _ in chosen), classes)
        counts = {split: len(chosen) for split, chosen in found.items()}
        record = {**settings, "examples": counts, "dictionary": len(dictionary), "sha256": sums}
        write_record(partial, {**record, "versions": versions("fairseq-fixed", "fairseq")})
    print(f"{args.out}: examples: {listed(counts)}; dictionary: {len(dictionary):,}")


def examples(trees: Iterable[Tree], labels: int, phrases: bool = False) -> list[Example]:
    """The sentences of trees, or all phrases; the same phrase with the same class once.

    Two `labels` are negative and positive, without what is neutral; otherwise there are five.
    """
    parts = [part for tree in trees for part in (tree.phrases() if phrases else (tree,))]
    found = [(part.label, part.words) for part in parts]
    if labels == 2:
        found = [(int(part.side > 0), part.words) for part in parts if part.side]
    return list(dict.fromkeys(found)) if phrases else found


def read_sentences(path: Path, labels: int) -> list[Example]:
    """The lines of a file: a label, a tab and a sentence, whose words spaces separate."""
    found = []
    for number, line in enumerate(read_lines(path, hashlib.sha256()), start=1):
        label, _, sentence = line.strip("\r\n").partition("\t")
        words = tuple(sentence.lower().split())
        if label not in map(str, range(labels)) or not words:
            raise UserError(
                f"{path}, line {number}: give a label from 0 to {labels - 1} (see --labels), a tab "
                "and a sentence"
            )
        check_line(path, number, words)
        found.append((int(label), words))
    if not found:
        raise UserError(f"{path} is empty; give a label, a tab and a sentence on each line")
    return found
