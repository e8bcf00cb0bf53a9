"""Turn the archive of the One Billion Word benchmark into shards of fairseq's binary data.

Run it with prepare_gbw.sh, which finds the Python environment.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import gbw_files
from common import UserError, check_source, corpus_parser, few, listed, positive, run, versions
from data_folder import (
    BEGUN,
    changes,
    continue_begun,
    counts,
    dictionary_size,
    differing,
    finish,
    is_done,
    only_run,
    read_begun,
    write_begun,
    write_record,
)
from gbw_files import Corpus
from gbw_shards import binarise, count_words, plan

HELP = """\
Prepare the One Billion Word benchmark (Chelba et al., 2013) for fairseq. Its sentences are in
random order. Including sentence ends, the published corpus has 798,949,912 training tokens in 99
files, 165,560 validation tokens (held-out file 00001) and 159,658 test tokens (held-out file
00000)."""

EXAMPLES = """\
examples:
  # download 1.8 GB, and make one shard of data for each of the 99 training files
  scripts/prepare_gbw.sh --out data-bin/gbw

  # use the archive or its unpacked folder, the most frequent words only, and 10 shards
  scripts/prepare_gbw.sh --data ~/corpora/1-billion-word-language-modeling-benchmark-r13output \\
      --nwords 100000 --shards 10 --out data-bin/gbw-100k

  # train on all shards: fairseq reads one shard per epoch, so one pass takes 10 epochs
  scripts/train.sh "$(echo data-bin/gbw-100k data-bin/gbw-100k/shard-* | tr ' ' :)" \\
      --task wsum_language_modeling ...

files in OUT:
  train, valid, test and dict.txt   fairseq's data; train is the first shard
  shard-002/train ...               the other shards; their dict.txt is a link to the one in OUT
  prepared.json                     the options, counts, checksums and versions

Only the words and their counts are held in memory. An interrupted run continues in the folder
.NAME.partial beside OUT when it is started again with the same options.

GBW_URL in the environment replaces the address of the archive."""


def main() -> None:
    prepare(parse())


def parse() -> argparse.Namespace:
    parser = corpus_parser(
        "prepare_gbw.sh",
        HELP,
        EXAMPLES,
        corpus="gbw",
        data=f"read {gbw_files.ROOT} from here: the unpacked folder, or the .tar.gz, which is "
        "read without unpacking it to disk",
        kind="PATH",
    )
    add = parser.add_argument
    add(
        "--threshold",
        type=positive,
        default=3,
        metavar="N",
        help="the dictionary has the words that occur at least N times in the training text; "
        "others become <unk> (default 3, which gives the benchmark's 793,471 entries: they include "
        "sentence boundaries and <unk>, but not fairseq's <pad>)",
    )
    add(
        "--nwords",
        type=positive,
        metavar="N",
        help="limit the dictionary to N entries, including fairseq's four symbols, and keep the "
        "most frequent words (default: no limit)",
    )
    add(
        "--shards",
        type=positive,
        metavar="N",
        help="distribute the training files over N shards, in order (default: one shard per file)",
    )
    add(
        "--own-corpus",
        action="store_true",
        help="--data holds another corpus in any number of files with names of the same form: "
        "check only that none is empty",
    )
    args = parser.parse_args()
    check_source(parser, args, "GBW_URL")
    return args


def prepare(args: argparse.Namespace) -> None:
    names = ("threshold", "nwords", "shards", "own_corpus")
    settings = {
        "corpus": "gbw",
        "script": "prepare_gbw.sh",
        **{name: getattr(args, name) for name in names},
    }
    if is_done(args, settings, lambda: gbw_files.find(args, read=True).sha256):
        return

    out = args.out.resolve()
    with only_run(out) as partial:
        corpus = gbw_files.find(args, read=(partial / BEGUN).is_file())
        shards = plan(partial, corpus, args.shards)
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
            "sha256": corpus.sha256,
            "versions": versions("fairseq", "fairseq-fixed"),
        }
        write_record(partial, record)
        finish(partial, out, settings)
    print(f"{args.out}: tokens: {listed(record['tokens'])}; dictionary: {record['dictionary']:,}")
    print(f"  <unk>: {listed(record['unknown'])}")
    print(f"  scripts/train.sh {':'.join(str(args.out / folder) for folder in record['data'])} ...")


def begin(
    folder: Path, corpus: Corpus, settings: dict[str, object], args: argparse.Namespace
) -> dict[str, int]:
    """Count the tokens of each split, unless an earlier run with the same options and files did."""
    if not (folder / BEGUN).is_file():
        tokens = count_words(folder, corpus, args)  # writes dict.txt, before BEGUN
        write_begun(folder, {**settings, "sha256": corpus.sha256, "tokens": tokens})
        return tokens
    old = read_begun(folder, ("sha256", "tokens"))
    changed = changes(old, settings)
    if not changed and (names := differing(old["sha256"], corpus.sha256)):
        changed = f"--data has other files now: {few(names)}"
    continue_begun(folder, changed)
    return dict(old["tokens"])


def total(shards: Iterable[Path], split: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for prefix in shards:
        if prefix.name == split:
            found.update(counts(prefix))
    return dict(found)


def check_all_there(
    folder: Path, found: dict[str, dict[str, int]], counted: dict[str, int]
) -> None:
    """Compare the counts, as the recorded ones or a part of the data may be damaged."""
    written = {split: n["tokens"] for split, n in found.items()}
    if written != counted:
        raise UserError(
            f"{listed(written)} tokens were written, but {listed(counted)} were counted before; "
            f"remove {folder} and run this again"
        )


if __name__ == "__main__":
    run(main)
