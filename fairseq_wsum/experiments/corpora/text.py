"""A text for language modelling as fairseq's binary data, in one part or in several."""

from __future__ import annotations

import argparse
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ..program import UserError, listed
from .folder import UNKNOWN, encode, is_done, make_dictionary, new_folder, write_record
from .published import Corpus
from .reading import check_line, file_sha256, locate, needed, read_lines, text_sha256

Splits = Mapping[str, Sequence[Path]]  # the files of train, valid and test


def prepare(corpus: Corpus | None, args: argparse.Namespace) -> None:
    """Prepare a published corpus, or the text of one's own in --data."""
    name = "text" if corpus is None else corpus.name
    settings: dict[str, Any] = {"corpus": name}
    if name in ("text", "gbw"):  # the dictionaries of the others are published
        settings |= {"threshold": args.threshold, "nwords": args.nwords, "shards": args.shards}
    own_sums = None if corpus is not None else lambda: sums(own_files(args.data))
    if is_done(args.out, settings, own_sums):
        return
    with new_folder(args.out) as partial:
        unpacked = partial / "unpacked"
        splits = own_files(args.data) if corpus is None else published(corpus, args, unpacked)
        # the benchmark's words may have a no-break space, at which fairseq itself splits a text
        words = re.compile(r"[^ \t\n\r\f\v]+").findall if name == "gbw" else str.split
        train = Counter(chain.from_iterable(read(splits["train"], words)))
        dictionary = make_dictionary(train, threshold=args.threshold, nwords=args.nwords)
        if len(dictionary) == dictionary.nspecial:
            limits = f"--threshold {args.threshold}"
            limits += f" --nwords {args.nwords}" if args.nwords else ""
            raise UserError(f"{limits} leaves no words in the dictionary")
        dictionary.save(str(partial / "dict.txt"))
        shards = divide(splits["train"], args.shards)
        # the short texts first, so that their mistakes are found before the long one is encoded
        found = {
            split: encode(partial / split, read(splits[split], words), dictionary)
            for split in ("valid", "test")
        }
        found["train"] = Counter()
        for folder, paths in shards.items():
            (partial / folder).mkdir(exist_ok=True)
            if folder != ".":
                (partial / folder / "dict.txt").symlink_to("../dict.txt")
            found["train"] += encode(partial / folder / "train", read(paths, words), dictionary)
        tokens = {split: found[split]["tokens"] for split in splits}
        if corpus is not None and corpus.tokens and tokens != corpus.tokens:
            raise UserError(
                f"--data {args.data} has other numbers of tokens ({listed(tokens)}) than "
                f"the benchmark ({listed(corpus.tokens)}); get it again"
            )
        record = {
            **settings,
            **{
                what: {split: found[split][what] for split in splits}
                for what in ("sentences", "tokens", "unknown", "unseen")
            },
            "dictionary": len(dictionary),
            "sha256": sums(splits),
        }
        shutil.rmtree(unpacked, ignore_errors=True)
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
    found = (pattern for pattern in patterns if locate(pattern.format("train"), data))
    pattern = next(found, patterns[0])
    files = {split: [needed(pattern.format(split), data, "add it")] for split in ("valid", "test")}
    train = locate(pattern.format("train"), data)
    there = {path.name.removesuffix(".gz") for path in data.glob("train-*")}
    parts = [needed(name, data, "add it") for name in sorted(there) if name.endswith(".txt")]
    if train is not None and parts:
        raise UserError(f"--data {data} has {train.name} and {parts[0].name}: move one away")
    if train is None and not parts:
        raise UserError(f"--data {data} has no train.txt, train.txt.gz or train-*.txt; add it")
    return {"train": parts if train is None else [train], **files}


def published(corpus: Corpus, args: argparse.Namespace, unpacked: Path) -> Splits:
    if corpus.name != "gbw":
        return {split: [path] for split, path in corpus.files(args)[0].items()}
    (archive,) = corpus.sha256
    data = args.data or corpus.find(archive, None, args.cache)
    names = {name for names in corpus.splits.values() for name in names}
    if data.is_file():
        print(f"checking {data}", flush=True)
        corpus.check(archive, file_sha256(data), data, args.data)
        print(f"unpacking {data}", flush=True)
        shutil.unpack_archive(data, unpacked, "gztar")
        data = unpacked
    found = {path.name.removesuffix(".gz"): path for path in data.rglob("news.en*")}
    if missing := sorted(names - found.keys()):
        more = f" and {len(missing) - 1} more of its files" if len(missing) > 1 else ""
        raise UserError(f"--data {data} lacks the benchmark's {missing[0]}{more}; unpack it again")
    return {split: [found[name] for name in corpus.splits[split]] for split in corpus.splits}


def sums(splits: Splits) -> dict[str, str]:
    """The SHA-256 of the text of each file."""
    paths = chain.from_iterable(splits.values())
    return {path.name.removesuffix(".gz"): text_sha256(path) for path in paths}


def divide(train: Sequence[Path], n: int | None) -> dict[str, Sequence[Path]]:
    """The files of each shard, by its folder within the data; a shard for each file by default."""
    n = n or len(train)
    if n > len(train):
        raise UserError(f"--shards {n} is too many: there are {len(train)} training files")
    cuts = [i * len(train) // n for i in range(n + 1)]
    folders = [".", *(f"shard-{i + 1:03d}" for i in range(1, n))]
    return {folder: train[cuts[i] : cuts[i + 1]] for i, folder in enumerate(folders)}


def read(paths: Iterable[Path], split: Callable[[str], list[str]]) -> Iterator[list[str]]:
    """The words of each line of some files."""
    for path in paths:
        empty = True
        for number, line in enumerate(read_lines(path), start=1):
            words = split(line)
            check_line(path, number, words)
            empty = empty and not words
            yield words
        if empty:
            raise UserError(f"{path} is empty; it must have one sentence per line")
