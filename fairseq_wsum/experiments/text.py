"""A text for language modelling as fairseq's binary data, in one part or in several."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import logging
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .corpora import (
    SYMBOLS,
    Corpus,
    check_line,
    file_sha256,
    locate,
    needed,
    read_lines,
    unpack,
)
from .files import UserError, listed, versions
from .folder import dictionary_size, is_done, new_folder, write_record

if TYPE_CHECKING:
    from fairseq.data import Dictionary

Splits = Mapping[str, Sequence[Path]]  # the files of train, valid and test
# fairseq's symbol itself, which a text may have: it is then a word to predict, as in the literature
UNKNOWN = "<unk>"


def prepare(corpus: Corpus | None, args: argparse.Namespace) -> None:
    """Prepare a published corpus, or the text of one's own in --data."""
    name = "text" if corpus is None else corpus.name
    settings: dict[str, Any] = {
        "corpus": name,
        "script": f"prepare_{name}.sh",
        "own_corpus": corpus is None,
    }
    if name in ("text", "gbw"):  # the dictionaries of the others are published
        settings |= {"threshold": args.threshold, "nwords": args.nwords, "shards": args.shards}
    own_sums = None if corpus is not None else lambda: sums(own_files(args.data))
    if is_done(args.out, settings, own_sums):
        return
    with new_folder(args.out, settings) as partial:
        unpacked = partial / "unpacked"
        splits = own_files(args.data) if corpus is None else published(corpus, args, unpacked)
        # the benchmark's words may have a no-break space, at which fairseq itself splits a text
        words = re.compile(r"[^ \t\n\r\f\v]+").findall if name == "gbw" else str.split
        reader = Reader(words, corpus, args.data)
        train, tokens = reader.count(splits)
        if corpus is not None and corpus.tokens and tokens != corpus.tokens:
            raise UserError(
                f"--data {args.data} has other numbers of tokens ({listed(tokens)}) than "
                f"the benchmark ({listed(corpus.tokens)}); get it again"
            )
        dictionary = write_dictionary(partial / "dict.txt", train, args.threshold, args.nwords)
        shards = divide(splits["train"], args.shards)
        found: dict[str, Counter[str]] = {split: Counter() for split in splits}
        for folder, paths in shards.items():
            (partial / folder).mkdir(exist_ok=True)
            if folder != ".":
                (partial / folder / "dict.txt").symlink_to("../dict.txt")
            found["train"] += reader.encode(partial / folder / "train", paths, dictionary)
        for split in ("valid", "test"):
            found[split] = reader.encode(partial / split, splits[split], dictionary)
        shutil.rmtree(unpacked, ignore_errors=True)
        record = {
            **settings,
            **{
                what: {split: found[split][what] for split in splits}
                for what in ("sentences", "tokens", "unknown", "unseen")
            },
            "dictionary": dictionary_size(partial / "dict.txt"),
            "data": list(shards),
            "sha256": reader.sums,
            "versions": versions("fairseq", "fairseq-fixed"),
        }
        write_record(partial, record)
    print(f"{args.out}: tokens: {listed(record['tokens'])}; dictionary: {record['dictionary']:,}")
    unknown, unseen = listed(record["unknown"]), listed(record["unseen"])
    print(f"  {UNKNOWN}: {unknown}; not in the dictionary: {unseen}")
    if len(shards) > 1:
        print(f"  scripts/train.sh {':'.join(str(args.out / folder) for folder in shards)} ...")


# The files


def own_files(data: Path) -> Splits:
    """The files of one's own text, which may also have the names of PTB or of WikiText-2."""
    patterns = ("{}.txt", "ptb.{}.txt", "wiki.{}.tokens")
    there = (pattern for pattern in patterns if locate(pattern.format("train"), data))
    pattern = next(there, patterns[0])
    files = {split: [needed(pattern.format(split), data, "add it")] for split in ("valid", "test")}
    train = locate(pattern.format("train"), data)
    parts = [path for path in sorted(data.glob("train-*")) if path.suffix in (".txt", ".gz")]
    if train is None and not parts:
        raise UserError(f"--data {data} has no train.txt, train.txt.gz or train-*.txt; add it")
    return {"train": parts if train is None else [train], **files}


def published(corpus: Corpus, args: argparse.Namespace, unpacked: Path) -> Splits:
    if corpus.name != "gbw":
        return {
            split: [corpus.find(name, args.data, args.cache) for name in names]
            for split, names in corpus.splits.items()
        }
    (archive,) = corpus.sha256
    data = args.data or corpus.find(archive, None, args.cache)
    names = {name for names in corpus.splits.values() for name in names}
    if data.is_file():
        print(f"checking {data}", flush=True)
        corpus.check(archive, file_sha256(data), data, args.data)
        unpack(data, names, unpacked)
        data = unpacked
    found = {path.name: path for path in data.rglob("news.en*")}
    if missing := sorted(names - found.keys()):
        more = f" and {len(missing) - 1} more of its files" if len(missing) > 1 else ""
        raise UserError(f"--data {data} lacks the benchmark's {missing[0]}{more}; unpack it again")
    return {split: [found[name] for name in corpus.splits[split]] for split in corpus.splits}


def sums(splits: Splits) -> dict[str, str]:
    """The SHA-256 of each file."""
    found = {}
    for path in (path for paths in splits.values() for path in paths):
        digest = hashlib.sha256()
        for _ in read_lines(path, digest):
            pass
        found[name_of(path)] = digest.hexdigest()
    return found


def name_of(path: Path) -> str:
    return path.name.removesuffix(".gz")


def divide(train: Sequence[Path], n: int | None) -> dict[str, Sequence[Path]]:
    """The files of each shard, by its folder within the data; a shard for each file by default."""
    n = n or len(train)
    if n > len(train):
        raise UserError(f"--shards {n} is too many: there are {len(train)} training files")
    cuts = [i * len(train) // n for i in range(n + 1)]
    folders = [".", *(f"shard-{i + 1:03d}" for i in range(1, n))]
    return {folder: train[cuts[i] : cuts[i + 1]] for i, folder in enumerate(folders)}


# Their words


class Reader:
    """Reads the files of a corpus, and checks those that are published."""

    def __init__(
        self, words: Callable[[str], list[str]], corpus: Corpus | None, data: Path | None
    ) -> None:
        self.sums: dict[str, str] = {}  # SHA-256 of each file
        self._words = words
        self._corpus = corpus
        self._data = data

    def read(self, path: Path) -> Iterator[list[str]]:
        """The words of each line."""
        digest = hashlib.sha256()
        for number, line in enumerate(read_lines(path, digest), start=1):
            words = self._words(line)
            if not SYMBOLS.isdisjoint(words):
                check_line(path, number, words)
            yield words
        name = name_of(path)
        self.sums[name] = digest.hexdigest()
        if self._corpus is not None and name in self._corpus.sha256:
            self._corpus.check(name, self.sums[name], path, self._data)

    def count(self, splits: Splits) -> tuple[Counter[str], dict[str, int]]:
        """The words of the training text, and the tokens of each split, with sentence ends."""
        train: Counter[str] = Counter()
        tokens = dict.fromkeys(splits, 0)
        for split, paths in splits.items():
            for path in paths:
                n = 0
                for words in self.read(path):
                    n += len(words)
                    tokens[split] += len(words) + 1
                    if split == "train":
                        train.update(words)
                if n == 0:
                    raise UserError(f"{path} is empty; it must have one sentence per line")
        return train, tokens

    def encode(self, prefix: Path, paths: Sequence[Path], dictionary: Dictionary) -> Counter[str]:
        """Write files as fairseq's binary data; return its counts.

        fairseq-preprocess writes the same bytes in six times the time, and starts once a shard.
        """
        import torch
        from fairseq.data.indexed_dataset import make_builder

        counts: Counter[str] = Counter()
        index, unk = dictionary.indices, dictionary.unk()
        builder = make_builder(f"{prefix}.bin", "mmap", vocab_size=len(dictionary))
        for path in paths:
            for words in self.read(path):
                ids = [*(index.get(word, unk) for word in words), dictionary.eos()]
                builder.add_item(torch.IntTensor(ids))
                unknown = ids.count(unk)
                counts["sentences"] += 1
                counts["tokens"] += len(ids)
                counts["unknown"] += unknown
                counts["unseen"] += unknown - words.count(UNKNOWN)
        builder.finalize(f"{prefix}.idx")
        return counts


def write_dictionary(
    path: Path, words: Counter[str], threshold: int, nwords: int | None
) -> Dictionary:
    """Write fairseq's dictionary: see the options --threshold and --nwords."""
    import_fairseq()
    from fairseq.data import Dictionary

    dictionary = Dictionary()
    for word, n in words.items():
        dictionary.add_symbol(word, n)
    # By default fairseq pads the dictionary with made-up words to a multiple of 8.
    dictionary.finalize(threshold=threshold, nwords=nwords or -1, padding_factor=1)
    if len(dictionary) == dictionary.nspecial:
        limits = f"--threshold {threshold}" + (f" --nwords {nwords}" if nwords else "")
        raise UserError(f"{limits} leaves no words in the dictionary")
    dictionary.save(str(path))
    return dictionary


def import_fairseq() -> None:
    """Import fairseq without its log messages about optional packages."""
    logging.disable(logging.INFO)
    try:
        importlib.import_module("fairseq")
    finally:
        logging.disable(logging.NOTSET)
