"""The options of prepare_multi30k.sh."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from common import check_source, corpus_parser, positive
from data_folder import read_like
from multi30k_files import FORMS, LANGUAGES, splits_in

HELP = """\
Prepare Multi30k (WMT16 multimodal, English to German, text only) for fairseq:
29,000 training, 1,014 validation and 1,000 test sentences (test_2016_flickr).

--own-corpus prepares another parallel corpus, in any two languages. Its files in --data have one
sentence a line. They are train.LANG, valid.LANG and test.LANG for --text raw, and
train.lc.norm.tok.LANG and so on for text that is lower-cased and tokenised. Each may end in .gz.
Training pairs with an empty side are left out."""

EXAMPLES = """\
examples:
  # download; a joint BPE of 8,000 units on the lower-cased, tokenised text
  scripts/prepare_multi30k.sh --out data-bin/multi30k

  # smaller units, and ten more segmentations of the training text (BPE-dropout)
  scripts/prepare_multi30k.sh --out data-bin/multi30k-dropout --bpe-size 4000 --bpe-dropout 0.1

  # words, training sentences of at most 50 words, from local files
  scripts/prepare_multi30k.sh --data ~/corpora/multi30k --units words --max-words 50 \\
      --out data-bin/multi30k-words

  # another corpus: train.en, train.fr, valid.en, ... in ~/corpora/mine
  scripts/prepare_multi30k.sh --own-corpus --data ~/corpora/mine --text raw \\
      --source-lang en --target-lang fr --bpe-size 16000 --out data-bin/mine

  # a third one, to fine-tune a model that was trained on data-bin/mine
  scripts/prepare_multi30k.sh --own-corpus --data ~/corpora/talks --like data-bin/mine \\
      --out data-bin/talks

files in OUT:
  train, valid, test and dict files   fairseq's data, for `scripts/train.sh OUT`
  text/SPLIT.LANG                     the same as text, cut into units
  sample-01 ...                       with --bpe-dropout: other segmentations of the training text;
                                      `scripts/train.sh OUT:OUT/sample-01:...` uses one per epoch
  reference/SPLIT.FORM.LANG           the unchanged text to score against
  spm.model                           with --units bpe: the BPE model
  prepared.json                       the options, counts, checksums and versions, which
                                      scripts/score.sh reads

MULTI30K_URL in the environment replaces the address of the files
(the folder that holds raw/ and tok/)."""

# options that --like takes from its folder: always, and with these --units
TAKEN = ("text", "units", "source_lang", "target_lang")
SIZES = {"bpe": ("bpe_size", "character_coverage"), "words": ("nwords",)}
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


def parse() -> argparse.Namespace:
    parser = corpus_parser(
        "prepare_multi30k.sh",
        HELP,
        EXAMPLES,
        corpus="multi30k",
        data="read the published files from here, such as train.lc.norm.tok.en.gz",
    )
    add = parser.add_argument
    add(
        "--text",
        choices=FORMS,
        help="lc.norm.tok: lower-cased, normalised, tokenised, as the literature scores it "
        "(default); raw: cased, as published",
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
        type=coverage,
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
        type=probability,
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
    add(
        "--own-corpus",
        action="store_true",
        help="the files hold another corpus: check only that both sides have the same number of "
        "lines",
    )
    for side, lang in zip(("source", "target"), LANGUAGES, strict=True):
        add(
            f"--{side}-lang",
            type=language,
            metavar="LANG",
            help=f"the {side} language (default {lang}); others than Multi30k's need --own-corpus",
        )
    args = parser.parse_args()
    check_source(parser, args, "MULTI30K_URL")
    if args.like is not None:
        take_options(parser, args)
    check_units(parser, args)
    for option, value in DEFAULTS.items():
        if getattr(args, option) is None:
            setattr(args, option, value)
    args.splits = splits_in(args)
    args.languages = (args.source_lang, args.target_lang)
    if args.source_lang == args.target_lang:
        parser.error(f"--source-lang and --target-lang are both {args.source_lang}")
    if {*args.languages} != {*LANGUAGES} and not args.own_corpus:
        parser.error(
            f"--source-lang {args.source_lang} --target-lang {args.target_lang}: Multi30k is here "
            "in en and de; give --own-corpus for another corpus"
        )
    return args


def take_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Set the options that --like takes from its folder, which must not contradict those given."""
    record = read_like(args.like)
    for name in (*TAKEN, *SIZES.get(record["units"], ())):
        given = getattr(args, name)
        there = record.get(name, given)
        if given not in (None, there):
            option = f"--{name.replace('_', '-')}"
            parser.error(
                f"{option} {given} with --like {args.like}, which was made with {option} {there}: "
                "leave one of the two options out"
            )
        setattr(args, name, there)


def check_units(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    words = args.units == "words"
    for option, value, needed in (
        ("--bpe-dropout", args.bpe_dropout, words and "--units bpe"),
        ("--bpe-size", args.bpe_size, words and "--units bpe"),
        ("--character-coverage", args.character_coverage, words and "--units bpe"),
        ("--bpe-samples", args.bpe_samples, not args.bpe_dropout and "--bpe-dropout"),
        ("--nwords", args.nwords, not words and "--units words"),
    ):
        if value is not None and needed:
            parser.error(f"{option} {value} needs {needed}")


def coverage(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0.98 <= value <= 1:  # the limits of sentencepiece
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0.98 to 1")
    return value


def probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return value


def language(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]\w*", text, re.ASCII):  # fairseq splits file names at . and -
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the code of a language, such as fr or pt_BR"
        )
    return text
