"""Prepare a treebank for `--task wsum_dependency_parsing`: its files, and its dictionaries."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .corpora import Corpus, file_sha256, read_text
from .files import UserError, listed, sha256, versions
from .folder import import_fairseq, is_done, make_dictionary, new_folder, write_record

NAMES = {"train": ("train",), "valid": ("dev", "valid"), "test": ("test",)}  # ends of file names
COLUMNS = ("upos", "xpos", "deprel")  # with a dictionary each


def prepare(corpus: Corpus | None, args: argparse.Namespace) -> None:
    """Prepare a published treebank, or one's own files in --data."""
    name = "treebank" if corpus is None else corpus.name
    settings: dict[str, Any] = {
        "corpus": name,
        "script": f"prepare {name}",
        "threshold": args.threshold,
        "vectors": args.vectors and file_sha256(args.vectors),
    }
    own = None if corpus is not None else lambda: sums(own_files(args.data, "conllu"))
    if is_done(args.out, settings, own):
        return
    import_fairseq()
    from ..plugin.data.treebank import read_treebank

    with new_folder(args.out) as partial:
        if corpus is None:
            paths = own_files(args.data, "conllu")
        else:
            names = corpus.splits.items()
            paths = {split: corpus.find(one, args.data, args.cache) for split, (one,) in names}
        counts: dict[str, Counter[str]] = {
            column: Counter() for column in ("words", "others", *COLUMNS)
        }
        numbers: dict[str, Counter[str]] = {what: Counter() for what in ("sentences", "words")}
        digests = sums(paths)
        for split, path in paths.items():
            if corpus is not None:
                corpus.check(corpus.splits[split][0], digests[split], path, args.data)
            (partial / f"{split}.conllu").write_text(read_text(path).decode(), "utf-8")
            for sentence in read_treebank(path, with_trees=True):
                found = [word.lower() for word in sentence.words]
                numbers["sentences"][split] += 1
                numbers["words"][split] += len(found)
                counts["words" if split == "train" else "others"].update(found)
                if split == "train":
                    for column in COLUMNS:
                        counts[column].update(sentence.column(column))
            if not numbers["sentences"][split]:
                raise UserError(f"{path} has no sentences; give a treebank in CoNLL-U")
        words = Counter({w: n for w, n in counts["words"].items() if n >= args.threshold})
        if args.vectors is not None:
            words |= _known(args.vectors, {**counts["words"], **counts["others"]})
        sizes = {}
        for column, kept in (("dict", words), *((f"dict.{c}", counts[c]) for c in COLUMNS)):
            dictionary = make_dictionary(kept, 1, None, padding=1)
            dictionary.save(str(partial / f"{column}.txt"))
            sizes[column] = len(dictionary)
        shown = {what: dict(found) for what, found in numbers.items()}
        record = {**settings, **shown, "dictionaries": sizes, "sha256": digests}
        package = versions("ve-fairseq", "fairseq-fixed", "fairseq", "conllu")
        write_record(partial, {**record, "versions": package})
    print(f"{args.out}: words: {listed(numbers['words'])}; dictionary: {sizes['dict']:,}")


def own_files(data: Path, *endings: str) -> dict[str, Path]:
    """The files of one's own, such as en_ewt-ud-train.conllu, or the .gz of each, by split."""
    found = {}
    for split, ends in NAMES.items():
        names = [f"*{end}.{ending}" for end in ends for ending in endings]
        matching = [
            path for name in names for gz in ("", ".gz") for path in sorted(data.glob(name + gz))
        ]
        if len(matching) != 1:
            raise UserError(
                f"--data {data} has {len(matching)} files {' or '.join(names)} (or .gz); keep one"
            )
        found[split] = matching[0]
    return found


def sums(paths: Mapping[str, Path]) -> dict[str, str]:
    """The SHA-256 of the text of each file."""
    return {split: sha256(read_text(path)) for split, path in paths.items()}


def _known(vectors: Path, words: dict[str, int]) -> Counter[str]:
    """The words that a file of vectors has, in the text format of word2vec or GloVe."""
    with vectors.open(encoding="utf-8", errors="replace") as file:
        return Counter(
            {w: words[w] for w in (line.split(" ", 1)[0] for line in file) if w in words}
        )
