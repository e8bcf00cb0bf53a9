"""What preparing a treebank, questions and trees with sentiment have in common.

Each kind of data is a module:

- `NAMES`: for each split, patterns of the name of its file, which may end in .gz, too.
- `OPTIONAL`: the splits that need not have a file.
- `add_options`: adds the options of this kind to a parser.
- `make`: makes the files of a folder: from the file of each split, the folder and the options. It
  returns what is recorded: first how many there are of what in each split, then the size of the
  `dictionary`, and more.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from ...argument_types import positive
from ..program import UserError, few, import_fairseq, listed
from .folder import is_done, make_dictionary, new_folder, write_record
from .published import Corpus
from .reading import file_sha256, text_sha256


def prepare(name: str, kind: ModuleType, corpus: Corpus | None, args: argparse.Namespace) -> None:
    """Prepare a published corpus, or one's own files in --data."""
    settings: dict[str, Any] = {"corpus": name}
    for option, value in vars(args).items():
        if option not in ("out", "data", "cache"):
            settings[option] = file_sha256(value) if isinstance(value, Path) else value
    find = partial(own_files, kind) if corpus is None else corpus.files
    if is_done(args.out, settings, (lambda: find(args)[1]) if corpus is None else None):
        return
    import_fairseq()
    with new_folder(args.out) as folder:
        paths, sums = find(args)
        try:
            found = kind.make(paths, folder, args)
        except ValueError as error:  # of a sentence or a question
            raise UserError(str(error)) from error
        write_record(folder, {**settings, **found, "sha256": sums})
    (what, counts), *_ = found.items()
    print(f"{args.out}: {what}: {listed(counts)}; dictionary: {found['dictionary']:,}")


def own_files(kind: ModuleType, args: argparse.Namespace) -> tuple[dict[str, Path], dict[str, str]]:
    """The file of each split in --data, and the SHA-256 of its text."""
    paths = {}
    for split, patterns in kind.NAMES.items():
        endings = [pattern + ending for pattern in patterns for ending in ("", ".gz")]
        found = [path for pattern in endings for path in sorted(args.data.glob(pattern))]
        if len(found) != 1 and (found or split not in kind.OPTIONAL):
            wanted = " or ".join(patterns)
            names = f": {few([path.name for path in found])}" if found else ""
            raise UserError(
                f"--data {args.data} has {len(found)} files {wanted} (or .gz){names}; it must have "
                "one"
            )
        if found:
            paths[split] = found[0]
    return paths, {split: text_sha256(path) for split, path in paths.items()}


def add_words(parser: argparse.ArgumentParser) -> None:
    """The options of a dictionary of words, which `save_words` makes."""
    add = parser.add_argument
    help = "the dictionary has the words that occur at least N times in the training set; others "
    help += "become <unk> (default 2)"
    add("--threshold", type=positive, default=2, metavar="N", help=help)
    help = "add to the dictionary those words of all splits that have a vector in FILE, a text in "
    help += "the format of GloVe or word2vec, for training with --encoder-embed-path FILE"
    add("--vectors", type=Path, metavar="FILE", help=help)


def save_words(folder: Path, words: Mapping[str, Counter[str]], args: argparse.Namespace) -> int:
    """Write the dictionary of a folder, with the options of `add_words`, and return its size.

    `words` says how often each word occurs in each split.
    """
    kept = {word: n for word, n in words["train"].items() if n >= args.threshold}
    if args.vectors is not None:
        every = {**(words["valid"] + words["test"]), **words["train"]}
        with args.vectors.open(encoding="utf-8", errors="replace") as file:
            first = (line.split(" ", 1)[0] for line in file)
            found = {word: every[word] for word in first if word in every}
        if not found:
            raise UserError(
                f"--vectors {args.vectors} has none of the words; give a text in the format of "
                "GloVe or word2vec"
            )
        kept |= found
    dictionary = make_dictionary(kept)
    dictionary.save(str(folder / "dict.txt"))
    return len(dictionary)
