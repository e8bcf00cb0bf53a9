"""Count and binarise the One Billion Word benchmark, one file at a time.

Each step writes its result to the folder completely or not at all, and skips what is already there.
A run can therefore continue an interrupted one.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from common import UserError, listed
from corpus_files import SYMBOLS, check_line
from data_folder import import_fairseq
from gbw_files import Corpus, members

if TYPE_CHECKING:
    from fairseq.data import Dictionary

TOKENS = {"train": 798_949_912, "valid": 165_560, "test": 159_658}  # including sentence ends
RAW_SYMBOLS = frozenset(symbol.encode() for symbol in SYMBOLS)
PARTS = "parts"  # has a folder with the binary data of each file of the corpus


def plan(folder: Path, corpus: Corpus, n: int | None) -> dict[Path, list[str]]:
    """The files that make up each .bin and .idx of the data, which is named without its suffix."""
    train = corpus.splits["train"]
    n = n or len(train)
    if n > len(train):
        raise UserError(f"--shards {n} is too many: there are {len(train)} training files")
    cuts = [i * len(train) // n for i in range(n + 1)]
    shards = {folder / "train": train[: cuts[1]]}
    for i in range(1, n):
        shards[folder / f"shard-{i + 1:03d}" / "train"] = train[cuts[i] : cuts[i + 1]]
    return shards | {folder / split: corpus.splits[split] for split in ("valid", "test")}


def count_words(folder: Path, corpus: Corpus, args: argparse.Namespace) -> dict[str, int]:
    """Write dict.txt, record the SHA-256 of each file, and return the tokens of each split."""
    print(f"counting the words of {len(corpus.sizes)} files", flush=True)
    split_of = {name: split for split, names in corpus.splits.items() for name in names}
    words: Counter[bytes] = Counter()
    tokens = dict.fromkeys(corpus.splits, 0)
    for file in members(corpus.data):
        split = split_of.get(file.name)
        if split is None:
            continue
        for number, line in enumerate(file, start=1):
            found = line.split()
            if not RAW_SYMBOLS.isdisjoint(found):
                check_line(file.name, number, line.decode(errors="replace").split())
            tokens[split] += len(found) + 1
            if split == "train":
                words.update(found)
        corpus.sha256[file.name] = file.sha256()
    if not args.own_corpus and tokens != TOKENS:
        raise UserError(
            f"{corpus.data} has other numbers of tokens ({listed(tokens)}) than the benchmark "
            f"({listed(TOKENS)}); get it again, or give --own-corpus if another corpus is intended"
        )
    write_dictionary(folder / "dict.txt", words, args)
    return tokens


def write_dictionary(path: Path, words: Counter[bytes], args: argparse.Namespace) -> None:
    import_fairseq()
    from fairseq.data import Dictionary

    dictionary = Dictionary()
    try:
        for word, n in words.items():
            if n >= args.threshold:
                dictionary.add_symbol(word.decode(), n)
    except UnicodeDecodeError as error:
        raise UserError(f"the training text is not UTF-8: {error}") from error
    # By default fairseq pads the dictionary with made-up words to a multiple of 8.
    dictionary.finalize(nwords=args.nwords or -1, padding_factor=1)
    if len(dictionary) == dictionary.nspecial:
        limits = f"--threshold {args.threshold}"
        if args.nwords:
            limits += f" --nwords {args.nwords}"
        raise UserError(f"{limits} leaves no words in the dictionary: give a lower threshold")
    dictionary.save(str(path))


def binarise(folder: Path, corpus: Corpus, shards: dict[Path, list[str]]) -> None:
    """Write all of `shards`.

    The archive has the files in any order, so each is binarised on its own before they are joined.
    """
    import_fairseq()
    from fairseq.data import Dictionary

    dictionary = Dictionary.load(str(folder / "dict.txt"))
    binarise_files(folder / PARTS, corpus, shards, dictionary)
    for prefix, names in shards.items():
        if not is_joined(prefix):
            join(folder, prefix, names, len(dictionary))
    shutil.rmtree(folder / PARTS)


def binarise_files(
    parts: Path, corpus: Corpus, shards: dict[Path, list[str]], dictionary: Dictionary
) -> None:
    parts.mkdir(exist_ok=True)
    left = {
        name
        for prefix, names in shards.items()
        for name in names
        if not is_joined(prefix) and not (parts / name).is_dir()
    }
    if not left:
        return
    print(f"binarising {len(left)} of {len(corpus.sizes)} files", flush=True)
    encode = encoder(dictionary)
    for file in members(corpus.data):
        if file.name in left:
            partial = parts / ".partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            tokens = encode(file, partial / "part")
            if file.sha256() != corpus.sha256[file.name]:
                raise UserError(
                    f"{file.name} in {corpus.data} has changed since its words were counted; "
                    f"remove {parts.parent} and run this again"
                )
            os.replace(partial, parts / file.name)
            print(f"  {file.name}: {tokens:,} tokens", flush=True)
            left.remove(file.name)
        if not left:
            break


def encoder(dictionary: Dictionary) -> Callable[[Iterable[bytes], Path], int]:
    """A function that writes lines as fairseq's binary data and returns their number of tokens."""
    import torch
    from fairseq.data.indexed_dataset import make_builder

    # fairseq's own encode_line stores a sentence word by word and takes six times as long.
    index = {word.encode(): i for word, i in dictionary.indices.items()}
    eos, unk = dictionary.eos(), dictionary.unk()

    def encode(text: Iterable[bytes], prefix: Path) -> int:
        tokens = 0
        builder = make_builder(f"{prefix}.bin", "mmap", vocab_size=len(dictionary))
        for line in text:
            ids = [index.get(word, unk) for word in line.split()]
            ids.append(eos)
            builder.add_item(torch.IntTensor(ids))
            tokens += len(ids)
        builder.finalize(f"{prefix}.idx")
        return tokens

    return encode


def is_joined(prefix: Path) -> bool:
    return suffixed(prefix, ".idx").is_file()


def join(folder: Path, prefix: Path, names: list[str], vocabulary: int) -> None:
    """Join the parts `names` in this order, and remove them."""
    from fairseq.data.indexed_dataset import make_builder

    shard = prefix.parent
    shard.mkdir(exist_ok=True)
    if shard != folder and not (shard / "dict.txt").is_symlink():
        (shard / "dict.txt").symlink_to(Path("..") / "dict.txt")
    data, index = suffixed(prefix, ".bin"), suffixed(prefix, ".idx")
    new_data, new_index = (suffixed(path, ".partial") for path in (data, index))
    builder = make_builder(str(new_data), "mmap", vocab_size=vocabulary)
    for name in names:
        builder.merge_file_(str(folder / PARTS / name / "part"))
    builder.finalize(str(new_index))
    os.replace(new_data, data)
    os.replace(new_index, index)  # last, as is_joined checks for it
    for name in names:
        shutil.rmtree(folder / PARTS / name)


def suffixed(prefix: Path, ending: str) -> Path:
    return prefix.with_name(prefix.name + ending)
