"""Turn a corpus for language modelling, three text files, into fairseq's binary data.

ptb.py and wikitext2.py describe such corpora.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from common import (
    UserError,
    check_source,
    corpus_parser,
    each_line,
    listed,
    positive,
    versions,
    write_lines,
)
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

# The texts contain fairseq's symbol itself, so it is a word to predict, as in the literature.
UNKNOWN = "<unk>"


@dataclass(frozen=True)
class TextFile:
    """The text of one split.

    Attributes:
        name: the name of the file in --data and in the cache.
        published: its name at the corpus' address.
        tokens: the number of words and line ends.
        sha256: of the text, uncompressed.
    """

    name: str
    published: str
    tokens: int
    sha256: str


@dataclass(frozen=True)
class Corpus:
    """A published corpus of words, one sentence or paragraph per line.

    Attributes:
        name: the NAME of prepare_NAME.sh and of the cache; in capitals, of the variable NAME_URL.
        url: the address of the folder with the files.
        files: the files of train, valid and test.
        description, examples: the texts before and after the options in --help.
    """

    name: str
    url: str
    files: Mapping[str, TextFile]
    description: str
    examples: str

    @property
    def script(self) -> str:
        return f"prepare_{self.name}.sh"

    @property
    def url_variable(self) -> str:
        return f"{self.name.upper()}_URL"


def parse(corpus: Corpus) -> argparse.Namespace:
    parser = corpus_parser(
        corpus.script,
        corpus.description,
        corpus.examples,
        corpus=corpus.name,
        data=f"read {names(corpus)}, or their .gz, from here",
    )
    add = parser.add_argument
    add(
        "--own-corpus",
        action="store_true",
        help="the files hold another corpus: check only that none is empty. They may also be named "
        "train.txt, valid.txt and test.txt",
    )
    add(
        "--nwords",
        type=positive,
        metavar="N",
        help="with --own-corpus: limit the dictionary to N entries, including fairseq's four "
        "symbols, and keep the most frequent words; others become <unk> (default: no limit)",
    )
    add("--workers", type=positive, default=1, metavar="N", help="number of processes (default 1)")
    args = parser.parse_args()
    check_source(parser, args, corpus.url_variable)
    if args.nwords and not args.own_corpus:
        parser.error(f"--nwords {args.nwords} needs --own-corpus: the published corpus has its own")
    return args


def with_own_names(corpus: Corpus, args: argparse.Namespace) -> Corpus:
    """The corpus with files train.txt and so on, if --data is a corpus of the user with those."""
    if not args.own_corpus or args.data is None or locate("train.txt", args.data) is None:
        return corpus
    files = {split: replace(file, name=f"{split}.txt") for split, file in corpus.files.items()}
    return replace(corpus, files=files)


def names(corpus: Corpus) -> str:
    *first, last = (file.name for file in corpus.files.values())
    return f"{', '.join(first)} and {last}"


def prepare(corpus: Corpus, args: argparse.Namespace) -> None:
    corpus = with_own_names(corpus, args)
    settings = {
        "corpus": corpus.name,
        "script": corpus.script,
        "own_corpus": args.own_corpus,
        "nwords": args.nwords,
    }
    if is_done(args, settings, lambda: sums(corpus, read_corpus(corpus, args))):
        return

    texts = read_corpus(corpus, args)
    with new_folder(args.out.resolve(), settings) as partial:
        binarise(partial, texts, args)
        known = words_in(partial / "dict.txt")
        found = {split: counts(partial / split) for split in texts}
        unseen = {}
        for split, raw in texts.items():
            expected, unseen[split] = count_text(raw, known)
            assert found[split] == expected
            assert args.own_corpus or found[split]["tokens"] == corpus.files[split].tokens
        entries = dictionary_size(partial / "dict.txt")
        record = {
            **settings,
            **{what: {split: found[split][what] for split in texts} for what in found["train"]},
            "unseen": unseen,
            "dictionary": entries,
            "sha256": sums(corpus, texts),
            "versions": versions("fairseq", "fairseq-fixed"),
        }
        write_record(partial, record)
    print(f"{args.out}: tokens: {listed(record['tokens'])}; dictionary: {entries:,}")
    print(f"  {UNKNOWN}: {listed(record['unknown'])}; not in the dictionary: {listed(unseen)}")


def read_corpus(corpus: Corpus, args: argparse.Namespace) -> dict[str, bytes]:
    return {
        split: read(file, find(corpus, file, args), args) for split, file in corpus.files.items()
    }


def sums(corpus: Corpus, texts: Mapping[str, bytes]) -> dict[str, str]:
    return {corpus.files[split].name: sha256(raw) for split, raw in texts.items()}


def find(corpus: Corpus, file: TextFile, args: argparse.Namespace) -> Path:
    if args.data is None:
        folder = os.environ.get(corpus.url_variable, corpus.url).rstrip("/")
        cached = cache_folder(args.cache, corpus.name, corpus.url_variable) / file.name
        cure = (
            f"download the files of {corpus.url} some other way, name them {names(corpus)}, and "
            "give their folder with --data"
        )
        return download(f"{folder}/{file.published}", cached, cure)
    path = locate(file.name, args.data)
    if path is None:
        raise UserError(
            f"--data {args.data} has neither {file.name} nor {file.name}.gz; add it, "
            "or leave --data out to download the corpus"
        )
    return path


def read(file: TextFile, path: Path, args: argparse.Namespace) -> bytes:
    raw = read_text(path)
    if not raw.strip():
        raise UserError(f"{path} is empty; it must have one sentence per line")
    if not args.own_corpus and sha256(raw) != file.sha256:
        raise wrong_file(path, f"is not the published {file.name}: its SHA-256 differs", args.data)
    check_symbols(path, each_line(raw))
    return raw


def words_in(dictionary: Path) -> set[str]:
    return {entry.split()[0] for entry in lines(dictionary.read_bytes())} | {UNKNOWN}


def count_text(raw: bytes, known: set[str]) -> tuple[dict[str, int], int]:
    """What `counts` must find in the binary data, and how many words are not `known`."""
    sentences = tokens = unknown = unseen = 0
    for line in each_line(raw):
        words = line.split()
        sentences += 1
        tokens += len(words) + 1
        unknown += words.count(UNKNOWN)
        unseen += sum(word not in known for word in words)
    return {"sentences": sentences, "tokens": tokens, "unknown": unknown + unseen}, unseen


def binarise(folder: Path, texts: Mapping[str, bytes], args: argparse.Namespace) -> None:
    text = folder / "text"
    text.mkdir()
    for split, raw in texts.items():
        # Use one kind of space: fairseq would also end a line at a carriage return.
        write_lines(text / split, (" ".join(line.split()) for line in each_line(raw)))
    prefs = {split: f"text/{split}" for split in texts}
    # By default fairseq pads the dictionary with made-up words to a multiple of 8.
    options = ["--only-source", "--padding-factor", "1", "--workers", str(args.workers)]
    options += [] if args.nwords is None else ["--nwordssrc", str(args.nwords)]
    preprocess(folder, ".", prefs, options)
    shutil.rmtree(text)
