"""Find or download the files of the One Billion Word benchmark, and read them one by one."""

from __future__ import annotations

import argparse
import codecs
import gzip
import hashlib
import os
import re
import tarfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePosixPath

from common import UserError
from corpus_files import cache_folder, download, wrong_file

ROOT = "1-billion-word-language-modeling-benchmark-r13output"
FORMS = {  # of the file names in each folder
    "training-monolingual.tokenized.shuffled": re.compile(r"news\.en-\d{5}-of-\d{5}"),
    "heldout-monolingual.tokenized.shuffled": re.compile(r"news\.en\.heldout-\d{5}-of-\d{5}"),
}
PUBLISHED = {
    "train": [f"news.en-{i:05d}-of-00100" for i in range(1, 100)],
    "valid": ["news.en.heldout-00001-of-00050"],
    "test": ["news.en.heldout-00000-of-00050"],
}

URL = f"http://www.statmt.org/lm-benchmark/{ROOT}.tar.gz"
SHA256 = "01ba60381110baf7f189dfd2b8374de371e8c9a340835793f190bdae9e90a34e"


@dataclass
class Corpus:
    data: Path  # the unpacked folder, or the archive
    splits: dict[str, list[str]]  # the files of train, valid and test
    sizes: dict[str, int]  # of each of these files, in bytes
    sha256: dict[str, str]  # of the text of each; "" until it has been read


class File:
    """A file of the corpus, read line by line, and the SHA-256 of the lines read so far."""

    def __init__(self, name: str, size: int, raw: Iterable[bytes], data: Path) -> None:
        self.name = name
        self.size = size
        self._raw = raw
        self._data = data
        self._sum = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        with readable(self._data):
            raw = iter(self._raw)
            # Remove a byte-order mark, which would become part of the first word.
            first = [line.removeprefix(codecs.BOM_UTF8) for line in islice(raw, 1)]
            for line in chain(first, raw):
                self._sum.update(line)
                yield line

    def sha256(self) -> str:
        return self._sum.hexdigest()


def find(args: argparse.Namespace, read: bool = False) -> Corpus:
    """The corpus of --data or of the downloaded archive; `read` computes its files' SHA-256."""
    data = args.data or fetch(args)
    if data.is_file() and not args.own_corpus:
        check_archive(data, args)
    if read:
        print(f"reading {data} to compare it with the files of the earlier run", flush=True)
    sizes, sums = {}, {}
    for file in members(data):
        sizes[file.name] = file.size
        if read:
            deque(file, maxlen=0)
            sums[file.name] = file.sha256()
    splits = own_splits(data, sorted(sizes)) if args.own_corpus else PUBLISHED
    missing = [name for names in splits.values() for name in names if name not in sizes]
    if missing:
        more = f" and {len(missing) - 1} more of its files" if len(missing) > 1 else ""
        raise UserError(
            f"--data {data} lacks the benchmark's {missing[0]}{more}; unpack the archive again, "
            "or give --own-corpus if another corpus is intended"
        )
    used = [name for names in splits.values() for name in names]
    sizes = {name: sizes[name] for name in used}
    for name, size in sizes.items():
        if size == 0:
            raise UserError(f"{name} in --data {data} is empty; it must have one sentence per line")
    return Corpus(data, splits, sizes, {name: sums.get(name, "") for name in used})


def fetch(args: argparse.Namespace) -> Path:
    url = os.environ.get("GBW_URL", URL)
    path = cache_folder(args.cache, "gbw", "GBW_URL") / Path(URL).name
    return download(url, path, f"download {URL} some other way and give it with --data")


def check_archive(path: Path, args: argparse.Namespace) -> None:
    print(f"checking {path}", flush=True)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise wrong_file(path, "is not the published archive: its SHA-256 differs", args.data)


def own_splits(data: Path, names: list[str]) -> dict[str, list[str]]:
    """The splits of a corpus with another number of files."""
    held_out = [name for name in names if ".heldout-" in name]
    splits = {
        "train": [name for name in names if name not in held_out],
        "valid": [name for name in held_out if "-00001-of-" in name],
        "test": [name for name in held_out if "-00000-of-" in name],
    }
    for split, names in splits.items():
        if not names:
            folder = list(FORMS)[split != "train"]
            raise UserError(
                f"--data {data} has no {split} file; add one like {folder}/{PUBLISHED[split][0]}"
            )
    return splits


def members(data: Path) -> Iterator[File]:
    """Each file, in the order of the archive.

    Read its lines before the next file is requested, as the archive is unpacked while it is read.
    """
    with readable(data):
        if data.is_dir():
            for path in files_of(data):
                with path.open("rb") as file:
                    yield File(path.name, path.stat().st_size, file, data)
            return
        # tarfile could unpack gzip itself, but would ignore the checksum and miss damage.
        with gzip.open(data) as unzipped:
            with tarfile.open(fileobj=unzipped, mode="r|") as archive:
                for member in archive:
                    inside = PurePosixPath(member.name)
                    form = FORMS.get(inside.parent.name)
                    if form and form.fullmatch(inside.name) and member.isfile():
                        unpacked = archive.extractfile(member)
                        assert unpacked is not None  # None only for members that are not files
                        yield File(inside.name, member.size, unpacked, data)
            while unzipped.read(1 << 20):
                pass  # the checksum is at the very end


def files_of(folder: Path) -> list[Path]:
    for root in (folder, folder / ROOT):
        if all((root / name).is_dir() for name in FORMS):
            return [
                path
                for name, form in FORMS.items()
                for path in sorted((root / name).iterdir())
                if form.fullmatch(path.name)
            ]
    raise UserError(
        f"--data {folder} has no folders {' and '.join(FORMS)}; give the folder {ROOT} "
        "or its archive, or leave --data out to download it"
    )


@contextmanager
def readable(data: Path) -> Iterator[None]:
    try:
        yield
    # tarfile may raise a ValueError if a damaged header has an invalid number or text.
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"cannot read {data}: {error}; get it again") from error
