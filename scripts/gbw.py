"""The One Billion Word benchmark, from the published archive to fairseq's binary data in shards.

Run it through prepare_gbw.sh, which finds the Python environment.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gbw_files
from common import UserError, check_cache, corpus_parser, listed, positive, run, versions
from data_folder import changes, counts, dictionary_size, record_of, write_record
from gbw_files import Corpus
from gbw_shards import binarise, count_words, plan

BEGUN = "begun.json"  # in the unfinished folder: with what it was begun; written after dict.txt
LOCK = "lock"

HELP = """\
Prepare the One Billion Word benchmark (Chelba et al., 2013) for fairseq. Its sentences are in no
order. The published corpus has, ends of sentences counted, 798,949,912 training tokens in 99 files,
165,560 validation tokens (held-out file 00001) and 159,658 test tokens (held-out file 00000)."""

EXAMPLES = """\
examples:
  # download 1.8 GB, and a shard of data for each of the 99 training files
  scripts/prepare_gbw.sh --out data-bin/gbw

  # from the archive, or the folder that it unpacks to; the most frequent words only; 10 shards
  scripts/prepare_gbw.sh --data ~/corpora/1-billion-word-language-modeling-benchmark-r13output \\
      --nwords 100000 --shards 10 --out data-bin/gbw-100k

  # train on all shards: fairseq reads one an epoch, so 10 epochs go through the corpus once
  fairseq-train "$(echo data-bin/gbw-100k data-bin/gbw-100k/shard-* | tr ' ' :)" \\
      --task wsum_language_modeling ...

what OUT holds then:
  train, valid, test and dict.txt   fairseq's data, of the training text the first shard
  shard-002/train ...               the other shards; their dict.txt is a link to the one of OUT
  prepared.json                     what was done with what

Nothing is held in memory but the words and their counts. A run that was broken off goes on where it
was, in the folder .NAME.partial beside OUT, when it is started again with the same options.

GBW_URL in the environment replaces the address of the archive."""


def main() -> None:
    prepare(parse())


def parse() -> argparse.Namespace:
    parser = corpus_parser("prepare_gbw.sh", HELP, EXAMPLES)
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        metavar="PATH",
        help=f"read {gbw_files.ROOT} from here: the unpacked folder, or the .tar.gz, which is "
        "read as it is and needs no room unpacked",
    )
    add(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="without --data: keep the archive here (default ~/.cache/fairseq_wsum/gbw)",
    )
    add(
        "--threshold",
        type=positive,
        default=3,
        metavar="N",
        help="words that occur at least N times in the training text make the dictionary, "
        "and others become <unk> (default 3, as the benchmark's 793,471, which count sentence "
        "boundaries and <unk>, but not fairseq's <pad>)",
    )
    add(
        "--nwords",
        type=positive,
        metavar="N",
        help="at most so many entries in the dictionary, fairseq's four symbols among them; "
        "the most frequent words stay (default: no limit)",
    )
    add(
        "--shards",
        type=positive,
        metavar="N",
        help="share the training files out to so many shards, in order (default: a shard a file)",
    )
    add(
        "--own-corpus",
        action="store_true",
        help="--data holds another corpus in files of the same names, however many: check only "
        "that none is empty",
    )
    args = parser.parse_args()
    check_cache(parser, args)
    return args


def prepare(args: argparse.Namespace) -> None:
    names = ("threshold", "nwords", "shards", "own_corpus")
    settings = {name: getattr(args, name) for name in names}
    out = args.out.resolve()
    record = record_of(out, settings)
    if record is not None:
        if args.data and gbw_files.find(args).sizes != record["files"]:
            raise UserError(
                f"--out {out} was made from other files than {args.data}; "
                "give a new folder, or remove that one"
            )
        print(f"{args.out}: done already, with the same options")
        return

    corpus = gbw_files.find(args)
    partial = out.with_name(f".{out.name}.partial")
    shards = plan(partial, corpus, args.shards)
    with only_run(partial):
        counted = begin(partial, corpus, settings, args)
        binarise(partial, corpus, shards)
        found = {split: total(shards, split) for split in corpus.splits}
        check_all_there(partial, found, counted)
        train = [prefix.parent for prefix in shards if prefix.name == "train"]
        record = {
            **settings,
            **{what: {split: n[what] for split, n in found.items()} for what in found["train"]},
            "dictionary": dictionary_size(partial / "dict.txt"),
            "data": [str(folder.relative_to(partial)) for folder in train],
            "files": corpus.sizes,
            "versions": versions("fairseq", "fairseq-fixed"),
        }
        write_record(partial, record)
        os.replace(partial, out)
    for name in (BEGUN, LOCK):
        (out / name).unlink()
    print(f"{args.out}: tokens: {listed(record['tokens'])}; dictionary: {record['dictionary']:,}")
    print(f"  <unk>: {listed(record['unknown'])}")
    print(f"  fairseq-train {':'.join(str(args.out / folder) for folder in record['data'])} ...")


def begin(
    folder: Path, corpus: Corpus, settings: dict[str, object], args: argparse.Namespace
) -> dict[str, int]:
    """Count the tokens of each split, unless that was done with the same options and files."""
    note = folder / BEGUN
    if not note.is_file():
        tokens = count_words(folder, corpus, args)
        partial = note.with_name(f"{note.name}.partial")
        partial.write_text(json.dumps({**settings, "files": corpus.sizes, "tokens": tokens}))
        os.replace(partial, note)
        return tokens
    old = json.loads(note.read_text())
    changed = changes(old, settings)
    if not changed and old["files"] != corpus.sizes:
        changed = "--data has other files now"
    if changed:
        raise UserError(
            f"{folder} was begun with other options ({changed}); "
            "give the same again to go on, or remove that folder"
        )
    print(f"going on with what is in {folder}")
    return old["tokens"]


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Make the unfinished folder, and keep a second run out, which would write the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another run is at work in {folder}; wait for it") from error
        except OSError:
            pass  # a file system without locks
        try:
            yield
        finally:
            if not (folder / BEGUN).is_file():  # nothing to go on from, or it has become --out
                shutil.rmtree(folder, ignore_errors=True)


def total(shards: Iterable[Path], split: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for prefix in shards:
        if prefix.name == split:
            found.update(counts(prefix))
    return dict(found)


def check_all_there(
    folder: Path, found: dict[str, dict[str, int]], counted: dict[str, int]
) -> None:
    """The files may have changed between the two times that they are read."""
    written = {split: n["tokens"] for split, n in found.items()}
    if written != counted:
        raise UserError(
            f"{listed(written)} tokens were written, but {listed(counted)} counted before: the "
            f"corpus has changed meanwhile; remove {folder} and run this again"
        )


if __name__ == "__main__":
    run(main)
