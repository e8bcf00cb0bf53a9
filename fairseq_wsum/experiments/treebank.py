"""Prepare a treebank for `--task wsum_dependency_parsing`: its files, and its dictionaries."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from .corpora import Corpus, file_sha256, find_files, read_text
from .files import UserError, listed, versions
from .folder import import_fairseq, is_done, make_dictionary, make_words, new_folder, write_record

NAMES = {
    "train": ["*train.conllu"],
    "valid": ["*dev.conllu", "*valid.conllu"],
    "test": ["*test.conllu"],
}
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
    own = None if corpus is not None else lambda: find_files(None, args, NAMES)[1]
    if is_done(args.out, settings, own):
        return
    import_fairseq()
    from ..plugin.data.treebank import read_treebank

    with new_folder(args.out) as partial:
        paths, sums = find_files(corpus, args, NAMES)
        counts: dict[str, Counter[str]] = {
            column: Counter() for column in ("words", "others", *COLUMNS)
        }
        numbers: dict[str, Counter[str]] = {what: Counter() for what in ("sentences", "words")}
        for split, path in paths.items():
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
        dictionaries = {
            "dict": make_words(counts["words"], counts["others"], args.threshold, args.vectors),
            **{f"dict.{c}": make_dictionary(counts[c], 1, None, padding=1) for c in COLUMNS},
        }
        for name, dictionary in dictionaries.items():
            dictionary.save(str(partial / f"{name}.txt"))
        sizes = {name: len(dictionary) for name, dictionary in dictionaries.items()}
        shown = {what: dict(found) for what, found in numbers.items()}
        record = {**settings, **shown, "dictionaries": sizes, "sha256": sums}
        package = versions("ve-fairseq", "fairseq-fixed", "fairseq", "conllu")
        write_record(partial, {**record, "versions": package})
    print(f"{args.out}: words: {listed(numbers['words'])}; dictionary: {sizes['dict']:,}")
