"""Find or download the files of Multi30k task 1, English and German, or of another corpus."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import corpus_files
from common import UserError, line_count
from corpus_files import cache_folder, locate, read_text, sha256, wrong_file

LANGUAGES = ("en", "de")
FORMS = ("lc.norm.tok", "raw")
SPLITS = {"train": "train", "valid": "val", "test": "test_2016_flickr"}  # ours: published
SENTENCES = {"train": 29000, "valid": 1014, "test": 1000}
URL = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1"

# SHA-256 of each text, uncompressed.
SHA256 = {
    "train.en": "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
    "train.de": "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
    "val.en": "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
    "val.de": "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
    "test_2016_flickr.en": "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
    "test_2016_flickr.de": "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
    "train.lc.norm.tok.en": "08925f8e0572bcd5a006702fc5fe20e2d77c6917d4eebd576fc20de6693c2119",
    "train.lc.norm.tok.de": "cb5a23529b65ec2061f1dc446192a9c37382b63cc75f81a0be59d34894b3a505",
    "val.lc.norm.tok.en": "46573ce391ae227f1c72f873392436a20ef18e0a6d518098cfbd70b77c8572ec",
    "val.lc.norm.tok.de": "97232bd273eceb7207f689527386a97e4be2616b18ada47576bdaf96c8ae1f00",
    "test_2016_flickr.lc.norm.tok.en": (
        "5b7f32627cf99eced828311b955dae9800bb52bc8b91cf8b6526829e605b29d2"
    ),
    "test_2016_flickr.lc.norm.tok.de": (
        "c6a33d39d48f9f510de147651316cd9d918e09ad0219df734a2f16b6baccacc4"
    ),
}


def read_corpus(args: argparse.Namespace) -> dict[str, bytes]:
    """The needed files by name: all of --text, and the other form to score against."""
    other = FORMS[1 - FORMS.index(args.text)]
    texts: dict[str, bytes] = {}
    for split in SPLITS:
        found = {}  # both forms: the translated one, and the one to score against
        for form in (args.text, other):
            if form == other and split == "train":
                continue
            for lang in args.languages:
                name = file_name(args, split, form, lang)
                path = find(name, form, args, required=form == args.text)
                if path is not None:
                    found[name] = read(name, path, split, args)
        check_same_lines(found)
        texts.update(found)
    return texts


def splits_in(args: argparse.Namespace) -> dict[str, str]:
    """The names of the splits: Multi30k's, or train, valid and test in a corpus without those."""
    own = args.own_corpus and args.data is not None and not any(args.data.glob("val.*"))
    return {split: split for split in SPLITS} if own else SPLITS


def file_name(args: argparse.Namespace, split: str, form: str, lang: str) -> str:
    name = args.splits[split]
    return f"{name}.{lang}" if form == "raw" else f"{name}.{form}.{lang}"


def find(name: str, form: str, args: argparse.Namespace, required: bool) -> Path | None:
    if args.data is None:
        return download(name, form, args)
    path = locate(name, args.data)
    if path is None and required:
        cure = "leave --data out to download the corpus"
        if args.own_corpus and form != "raw":
            cure = "give --text raw for text as it is written"
        elif args.own_corpus:
            cure = "name the languages with --source-lang and --target-lang"
        raise UserError(
            f"--data {args.data} has neither {name} nor {name}.gz, which --text {args.text} "
            f"needs; add it, or {cure}"
        )
    if path is None:
        print(f"{args.data} has no {name}: scripts/score.sh will not score against it")
    return path


def download(name: str, form: str, args: argparse.Namespace) -> Path:
    published = f"raw/{name}.gz" if form == "raw" else f"tok/{name}"
    url = f"{os.environ.get('MULTI30K_URL', URL).rstrip('/')}/{published}"
    path = cache_folder(args.cache, "multi30k", "MULTI30K_URL") / Path(published).name
    cure = f"download the files of {URL} some other way and give their folder with --data"
    return corpus_files.download(url, path, cure)


def read(name: str, path: Path, split: str, args: argparse.Namespace) -> bytes:
    raw = read_text(path)
    if args.own_corpus:
        return raw
    found, expected = line_count(raw), SENTENCES[split]
    if found != expected:
        what = f"has {found} lines, not {expected} as Multi30k's {name}"
        raise wrong_file(path, what, args.data)
    if sha256(raw) != SHA256[name]:
        raise wrong_file(path, f"is not Multi30k's {name}: its SHA-256 differs", args.data)
    return raw


def check_same_lines(texts: dict[str, bytes]) -> None:
    sizes = {name: line_count(raw) for name, raw in texts.items()}
    if len(set(sizes.values())) > 1:
        counted = ", ".join(f"{name} has {n} lines" for name, n in sizes.items())
        raise UserError(f"the files do not match: {counted}; line n must translate line n")
    if 0 in sizes.values():
        raise UserError(f"{' and '.join(sizes)} are empty: give files with a sentence in each line")
