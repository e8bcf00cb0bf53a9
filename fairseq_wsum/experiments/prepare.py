"""Prepare a corpus for fairseq: `python -m fairseq_wsum.experiments.prepare CORPUS --out DIR`.

scripts/prepare_CORPUS.sh calls it, and finds the Python environment.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from ..argument_types import positive
from . import text, translation
from .corpora import FORMS, GBW, GBW_ROOT, LANGUAGES, MULTI30K, PTB, WIKITEXT2
from .files import folder, run
from .folder import read_like

TRANSLATION_FILES = """\
files in OUT:
  train, valid, test and dict files   fairseq's data, for `scripts/train.sh OUT`
  text/SPLIT.LANG                     the same as text, cut into units
  sample-01 ...                       with --bpe-dropout: other segmentations of the training text;
                                      `scripts/train.sh OUT:OUT/sample-01:...` uses one per epoch
  reference/SPLIT.FORM.LANG           the unchanged text to score against
  spm.model                           with --units bpe: the BPE model
  prepared.json                       the options, counts, checksums and versions, which
                                      scripts/score.sh reads"""

TEXT_FILES = """\
files in OUT:
  train, valid, test and dict.txt   fairseq's data, for `scripts/train.sh OUT`
  prepared.json                     the options, counts, checksums and versions"""

SHARDS = """\
  shard-002/train ...               the other shards, if there are any, with a link to dict.txt"""

CORPORA = {"multi30k": MULTI30K, "ptb": PTB, "wikitext2": WIKITEXT2, "gbw": GBW}
COMMANDS = ("multi30k", "translation", "ptb", "wikitext2", "gbw", "text")

# the help before and after the options, and that of --data
HELP = {
    "multi30k": (
        """\
Prepare Multi30k (WMT16 multimodal, English to German, text only) for fairseq:
29,000 training, 1,014 validation and 1,000 test sentences (test_2016_flickr).
prepare_translation.sh prepares a corpus of your own.""",
        f"""\
examples:
  # download; a joint BPE of 8,000 units on the lower-cased, tokenised text
  scripts/prepare_multi30k.sh --out data-bin/multi30k

  # smaller units, and ten more segmentations of the training text (BPE-dropout)
  scripts/prepare_multi30k.sh --out data-bin/multi30k-dropout --bpe-size 4000 --bpe-dropout 0.1

  # words, training sentences of at most 50 words, from local files
  scripts/prepare_multi30k.sh --data ~/corpora/multi30k --units words --max-words 50 \\
      --out data-bin/multi30k-words

{TRANSLATION_FILES}

MULTI30K_URL in the environment replaces the address of the files
(the folder that holds raw/ and tok/).""",
        "read the published files from here, such as train.lc.norm.tok.en.gz",
    ),
    "translation": (
        """\
Prepare a parallel corpus of your own for fairseq, in any two languages. Its files in --data have
one sentence a line. They are train.LANG, valid.LANG and test.LANG for --text raw, and
train.lc.norm.tok.LANG and so on for text that is lower-cased and tokenised. Each may end in .gz.
Training pairs with an empty side are left out.""",
        f"""\
examples:
  # train.en, train.fr, valid.en, ... in ~/corpora/mine
  scripts/prepare_translation.sh --data ~/corpora/mine --text raw \\
      --source-lang en --target-lang fr --bpe-size 16000 --out data-bin/mine

  # another corpus, to fine-tune a model that was trained on data-bin/mine
  scripts/prepare_translation.sh --data ~/corpora/talks --like data-bin/mine --out data-bin/talks

{TRANSLATION_FILES}""",
        "the folder of the corpus",
    ),
    "ptb": (
        """\
Prepare Mikolov's version of the Penn Treebank (lower case, 10,000 words, numbers as N) for fairseq:
929,589 training, 73,760 validation and 82,430 test tokens, including sentence ends.
prepare_text.sh prepares text of your own.""",
        f"""\
examples:
  # download, and train a language model on the data
  scripts/prepare_ptb.sh --out data-bin/ptb
  scripts/train.sh data-bin/ptb --task wsum_language_modeling ...

  # from local files
  scripts/prepare_ptb.sh --data ~/corpora/ptb --out data-bin/ptb

{TEXT_FILES}

The dictionary has 10,002 entries: the 10,000 words, which include fairseq's <unk> and </s> (the
sentence end), and fairseq's <s> and <pad>, which never occur.

PTB_URL in the environment replaces the address of the folder that holds the three files.""",
        "read ptb.train.txt, ptb.valid.txt and ptb.test.txt, or their .gz, from here",
    ),
    "wikitext2": (
        """\
Prepare WikiText-2, the version with words (Merity et al., 2016), for fairseq: 2,088,628 training,
217,646 validation and 245,569 test tokens. Every line ends with a token, and so do empty lines.""",
        f"""\
examples:
  # download, and train a language model on the data
  scripts/prepare_wikitext2.sh --out data-bin/wikitext2
  scripts/train.sh data-bin/wikitext2 --task wsum_language_modeling ...

  # from local files
  scripts/prepare_wikitext2.sh --data ~/corpora/wikitext-2 --out data-bin/wikitext2

{TEXT_FILES}

The dictionary has 33,280 entries: the 33,278 words, which include fairseq's <unk> and </s> (the
line end), and fairseq's <s> and <pad>, which never occur.

WIKITEXT2_URL in the environment replaces the address of the folder that holds train.txt, valid.txt
and test.txt.""",
        "read wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens, or their .gz, from here",
    ),
    "gbw": (
        """\
Prepare the One Billion Word benchmark (Chelba et al., 2013) for fairseq. Its sentences are in
random order. Including sentence ends, it has 798,949,912 training tokens in 99 files, 165,560
validation tokens (held-out file 00001) and 159,658 test tokens (held-out file 00000). With the
default --threshold, its dictionary has the benchmark's 793,471 entries, which include sentence
boundaries and <unk>, and fairseq's <pad>.""",
        f"""\
examples:
  # download 1.8 GB, and make one shard of data for each of the 99 training files
  scripts/prepare_gbw.sh --out data-bin/gbw

  # use the archive or its unpacked folder, the most frequent words only, and 10 shards
  scripts/prepare_gbw.sh --data ~/corpora/{GBW_ROOT} \\
      --nwords 100000 --shards 10 --out data-bin/gbw-100k

  # train on all shards: fairseq reads one shard per epoch, so one pass takes 10 epochs
  scripts/train.sh "$(echo data-bin/gbw-100k data-bin/gbw-100k/shard-* | tr ' ' :)" \\
      --task wsum_language_modeling ...

{TEXT_FILES}
{SHARDS}

Only the words and their counts are held in memory. The archive is unpacked beside OUT, and the text
removed at the end: this needs 8 GB.

GBW_URL in the environment replaces the address of the archive.""",
        f"read {GBW_ROOT} from here: the unpacked folder, or the .tar.gz",
    ),
    "text": (
        """\
Prepare text of your own for language modelling: one sentence or paragraph per line, words separated
by spaces. Its files in --data are train.txt, valid.txt and test.txt. The training text may also be
in several files, train-*.txt, which are read in the order of their names. Each may end in .gz.""",
        f"""\
examples:
  scripts/prepare_text.sh --data ~/corpora/mine --out data-bin/mine
  scripts/train.sh data-bin/mine --task wsum_language_modeling ...

  # the most frequent words only
  scripts/prepare_text.sh --data ~/corpora/mine --nwords 50000 --out data-bin/mine-50k

{TEXT_FILES}
{SHARDS}

fairseq reads one shard per epoch: `scripts/train.sh OUT:OUT/shard-002:...`""",
        "the folder of the text",
    ),
}

# options that --like takes from its folder: always, and with these --units
TAKEN = ("text", "units", "source_lang", "target_lang")
DEFAULTS = {
    "text": "lc.norm.tok",
    "units": "bpe",
    "source_lang": LANGUAGES[0],
    "target_lang": LANGUAGES[1],
    "bpe_size": 8000,
    "character_coverage": 1.0,
    "bpe_samples": 10,
    "nwords": 50000,
}


def main() -> None:
    """Run the command line; the first word names the corpus."""
    if sys.argv[1:2] not in [[name] for name in COMMANDS]:
        sys.exit(f"usage: prepare CORPUS --out DIR ...; CORPUS is one of {', '.join(COMMANDS)}")
    run(lambda: prepare(*sys.argv[1:]))


def prepare(name: str, *words: str) -> None:
    parallel = name in ("multi30k", "translation")
    parser = make_parser(name)
    (add_translation if parallel else add_text)(parser, name)
    args = parser.parse_args(words)
    if args.own_corpus:
        script = "prepare_translation.sh" if parallel else "prepare_text.sh"
        parser.error(f"--own-corpus: use scripts/{script}, which prepares text of your own")
    if args.data is not None and not args.data.exists():
        parser.error(f"--data {args.data} does not exist")
    if name in CORPORA and args.cache is not None and args.data is not None:
        parser.error(f"--cache {args.cache} with --data {args.data}: leave one of the two out")
    if parallel:
        check_translation(parser, args, name)
    (translation if parallel else text).prepare(CORPORA.get(name), args)


def make_parser(name: str) -> argparse.ArgumentParser:
    """The options that every corpus has."""
    description, examples, data = HELP[name]
    parser = argparse.ArgumentParser(
        prog=f"prepare_{name}.sh",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--out", type=folder, required=True, metavar="DIR", help="folder to create")
    kind = "PATH" if name == "gbw" else "FOLDER"
    add("--data", type=Path, required=name not in CORPORA, metavar=kind, help=data)
    if name in CORPORA:
        cache = f"without --data: keep downloads here (default ~/.cache/fairseq_wsum/{name})"
        add("--cache", type=Path, metavar="FOLDER", help=cache)
    add("--own-corpus", action="store_true", help=argparse.SUPPRESS)  # of earlier versions
    return parser


def add_text(parser: argparse.ArgumentParser, name: str) -> None:
    """The options of a text for language modelling."""
    parser.set_defaults(threshold=1, nwords=None, shards=None)
    if name in ("ptb", "wikitext2"):
        return
    threshold = 3 if name == "gbw" else 1
    add = parser.add_argument
    add(
        "--threshold",
        type=positive,
        default=threshold,
        metavar="N",
        help="the dictionary has the words that occur at least N times in the training text; "
        f"others become <unk> (default {threshold})",
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


def add_translation(parser: argparse.ArgumentParser, name: str) -> None:
    """The options of a parallel corpus."""
    add = parser.add_argument
    add(
        "--text",
        choices=FORMS,
        help="lc.norm.tok: lower-cased, normalised, tokenised, as the literature scores Multi30k "
        "(default); raw: cased, as it is written",
    )
    add(
        "--units",
        choices=("bpe", "words"),
        help="bpe: one SentencePiece BPE model and dictionary for both languages (default); "
        "words: one dictionary per language; raw text is tokenised by sacremoses first",
    )
    add("--bpe-size", type=positive, metavar="N", help="BPE units (default 8000)")
    add(
        "--character-coverage",
        type=float,
        metavar="P",
        help="with --units bpe: share of the characters of the training text that get a unit, from "
        "0.98 to 1; the rarest become <unk> (default 1: all characters)",
    )
    add(
        "--like",
        type=Path,
        metavar="FOLDER",
        help="take the BPE model, the dictionaries and the options for the text from FOLDER, which "
        "this script has made, so that a model trained on FOLDER can be trained on OUT",
    )
    add(
        "--bpe-dropout",
        type=float,
        metavar="P",
        help="add other segmentations of the training text, in which each BPE merge is dropped "
        "with probability P (Provilkov et al., 2020); 0.1 is usual (default: none)",
    )
    add(
        "--bpe-samples",
        type=positive,
        metavar="N",
        help="with --bpe-dropout: number of other segmentations (default 10)",
    )
    add(
        "--nwords",
        type=positive,
        metavar="N",
        help="with --units words: limit the dictionary of each language to N entries, including "
        "fairseq's four symbols (default 50000)",
    )
    add(
        "--max-words",
        type=positive,
        metavar="N",
        help="leave out training pairs with more than N BPE units or words on either side",
    )
    add("--workers", type=positive, default=1, metavar="N", help="number of processes (default 1)")
    for side, lang in zip(("source", "target"), LANGUAGES, strict=True):
        help = f"the {side} language (default {lang})"
        add(f"--{side}-lang", type=language, metavar="LANG", help=help)


def check_translation(parser: argparse.ArgumentParser, args: argparse.Namespace, name: str) -> None:
    """Set the options that were not given, and check that those given go together."""
    if args.like is not None:
        take_options(parser, args)
    if args.bpe_dropout is not None and not 0 < args.bpe_dropout < 1:
        parser.error(f"--bpe-dropout {args.bpe_dropout}: give a number between 0 and 1")
    words = args.units == "words"
    for option, needed in (
        ("bpe_dropout", words and "--units bpe"),
        ("bpe_size", words and "--units bpe"),
        ("character_coverage", words and "--units bpe"),
        ("bpe_samples", not args.bpe_dropout and "--bpe-dropout"),
        ("nwords", not words and "--units words"),
    ):
        if getattr(args, option) is not None and needed:
            parser.error(f"{shown(option)} {getattr(args, option)} needs {needed}")
    for option, value in DEFAULTS.items():
        if getattr(args, option) is None:
            setattr(args, option, value)
    args.languages = (args.source_lang, args.target_lang)
    if args.source_lang == args.target_lang:
        parser.error(f"--source-lang and --target-lang are both {args.source_lang}")
    if name == "multi30k" and {*args.languages} != {*LANGUAGES}:
        parser.error(
            f"--source-lang {args.source_lang} --target-lang {args.target_lang}: Multi30k is here "
            "in en and de; scripts/prepare_translation.sh prepares other corpora"
        )


def take_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Set the options that --like takes from its folder, which must not contradict those given."""
    record = read_like(args.like)
    for name in (*TAKEN, *translation.SIZES.get(record["units"], ())):
        given = getattr(args, name)
        there = record.get(name, given)
        if given not in (None, there):
            parser.error(
                f"{shown(name)} {given} with --like {args.like}, which was made with {shown(name)} "
                f"{there}: leave one of the two options out"
            )
        setattr(args, name, there)


def shown(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def language(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]\w*", text, re.ASCII):  # fairseq splits file names at . and -
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the code of a language, such as fr or pt_BR"
        )
    return text


if __name__ == "__main__":
    main()
