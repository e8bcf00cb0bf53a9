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

from .corpora import SST_ARCHIVE, Corpus, check_line, read_lines, read_text, unpack
from .files import UserError, listed, sha256, versions
from .folder import encode, is_done, make_dictionary, new_folder, write_record
from .sentiment_trees import Tree, read_trees

NAMES = {"train": ("train",), "valid": ("dev", "valid"), "test": ("test",)}  # of files
Example = tuple[int, tuple[str, ...]]  # the class, from 0, and the words


def prepare(corpus: Corpus | None, args: argparse.Namespace) -> None:
    """Prepare the published trees, or trees or sentences of one's own in --data."""
    name = "sentiment" if corpus is None else corpus.name
    options = {"labels": args.labels, "phrases": args.phrases, "threshold": args.threshold}
    settings: dict[str, Any] = {"corpus": name, "script": f"prepare {name}", **options}
    own = None if corpus is not None else lambda: _sums(own_files(args.data))
    if is_done(args.out, settings, own):
        return
    with new_folder(args.out) as partial:
        paths = own_files(args.data) if corpus is None else published(corpus, args, partial)
        sums = _sums(paths)
        found: dict[str, list[Example]] = {}
        for split, path in paths.items():
            if corpus is not None:
                corpus.check(corpus.splits[split][0], sums[split], path, args.data)
            if ".tsv" in path.suffixes:
                found[split] = read_sentences(path, args.labels)
                continue
            trees = read_trees(path)
            found[split] = examples(trees, args.labels, split == "train" and args.phrases)
            (partial / "trees").mkdir(exist_ok=True)
            (partial / f"trees/{split}.txt").write_bytes(read_text(path))
            if not found[split]:
                raise UserError(f"{path}: all sentences are neutral; give --labels 5")
        # fairseq makes batches of neighbours: with --no-shuffle, of phrases of the same length
        random.Random(0).shuffle(found["train"])
        found["train"].sort(key=lambda example: len(example[1]))
        words = Counter(word for _, sentence in found["train"] for word in sentence)
        dictionary = make_dictionary(words, args.threshold, None, padding=1)
        classes = make_dictionary({}, 1, None, padding=1)
        for label in range(args.labels):  # in this order, so that the class of a label is itself
            classes.add_symbol(str(label), sum(label == k for k, _ in found["train"]))
        shutil.rmtree(partial / "unpacked", ignore_errors=True)
        for kind, symbols in (("input0", dictionary), ("label", classes)):
            (partial / kind).mkdir()
            symbols.save(str(partial / kind / "dict.txt"))
        unknown = {}
        for split, chosen in found.items():
            prefix = partial / "input0" / split
            unknown[split] = encode(prefix, map(list, (w for _, w in chosen)), dictionary)["unseen"]
            encode(partial / "label" / split, ([str(k)] for k, _ in chosen), classes)
        counts = {split: len(chosen) for split, chosen in found.items()}
        record = {**settings, "examples": counts, "unknown": unknown, "sha256": sums}
        record["dictionary"] = len(dictionary)
        write_record(partial, {**record, "versions": versions("fairseq-fixed", "fairseq")})
    print(f"{args.out}: examples: {listed(counts)}; dictionary: {len(dictionary):,}")


def examples(trees: Iterable[Tree], labels: int, phrases: bool = False) -> list[Example]:
    """The sentences of trees, or all phrases, in order; the same phrase with the same class once.

    Args:
        trees: the sentences.
        labels: 5, or 2 (negative and positive), which leaves out what is neutral.
        phrases: whether to take all phrases.
    """
    parts = (part for tree in trees for part in (tree.phrases() if phrases else (tree,)))
    if labels == 2:
        found = [(int(part.side > 0), part.words) for part in parts if part.side]
    else:
        found = [(part.label, part.words) for part in parts]
    return list(dict.fromkeys(found)) if phrases else found


def read_sentences(path: Path, labels: int) -> list[Example]:
    """The lines of a file: a label, a tab and a sentence, whose words spaces separate.

    Raises:
        UserError: a line has another form, or there is none.
    """
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
        raise UserError(f"{path} has no sentences; give a label, a tab and a sentence a line")
    return found


def own_files(data: Path) -> dict[str, Path]:
    """The files of one's own: NAME.txt with trees or NAME.tsv with sentences, or the .gz."""
    found = {}
    for split, names in NAMES.items():
        endings = [f"{name}.{ending}" for name in names for ending in ("txt", "tsv")]
        there = [data / f"{name}{gz}" for name in endings for gz in ("", ".gz")]
        matching = [path for path in there if path.is_file()]
        if len(matching) != 1:
            raise UserError(
                f"--data {data} has {len(matching)} files {' or '.join(endings)} (or .gz); keep one"
            )
        found[split] = matching[0]
    return found


def published(corpus: Corpus, args: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """The files of the corpus in --data, or in the archive, which is downloaded."""
    names = [name for (name,) in corpus.splits.values()]
    if args.data is not None:
        found = (corpus.find(name, args.data, None) for name in names)
        return dict(zip(corpus.splits, found, strict=True))
    unpack(corpus.find(SST_ARCHIVE, None, args.cache), names, folder / "unpacked")
    return {split: folder / "unpacked" / name for split, (name,) in corpus.splits.items()}


def _sums(paths: dict[str, Path]) -> dict[str, str]:
    """The SHA-256 of the text of each file."""
    return {split: sha256(read_text(path)) for split, path in paths.items()}
