"""`scripts/prepare.sh`: prepare a corpus for fairseq."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from ...argument_types import positive
from ..program import first_word, folder, script_parser
from . import labelled, questions, sentiment, text, translation, treebank
from .folder import read_translation_record
from .published import EWT, FORMS, GBW, LANGUAGES, MULTI30K, PTB, SQUAD, SST, WIKITEXT2

CORPORA = {one.name: one for one in (MULTI30K, PTB, WIKITEXT2, GBW, EWT, SQUAD, SST)}
KINDS = {"treebank": treebank, "questions": questions, "sentiment": sentiment}
KINDS |= {"ewt": treebank, "squad": questions, "sst": sentiment}
TRANSLATION = ("multi30k", "translation")

ABOUT = {
    "multi30k": "Multi30k (WMT16 multimodal, English to German, text only)",
    "translation": "a parallel corpus of your own: train.LANG, valid.LANG and test.LANG for --text "
    "raw, train.lc.norm.tok.LANG and so on for text that is lower-cased and tokenised",
    "ptb": "Mikolov's version of the Penn Treebank (lower case, 10,000 words, numbers as N)",
    "wikitext2": "WikiText-2, the version with words (Merity et al., 2016)",
    "gbw": "the One Billion Word benchmark (Chelba et al., 2013), with a shard for each of its 99 "
    "training files. --data is its unpacked folder, or its .tar.gz, which takes 8 GB beside OUT",
    "ewt": "the English Web Treebank of Universal Dependencies, release 2.16",
    "treebank": "a treebank of your own in CoNLL-U. The names of its files end in train.conllu, "
    "dev.conllu (or valid.conllu) and test.conllu",
    "squad": "SQuAD 1.1 (Rajpurkar et al., 2016), with some articles of the training set for "
    "validation, and the development set as the test set",
    "questions": "questions of your own in the format of SQuAD 1.1. The names of the files begin "
    "with train, dev (or test) and valid; without the last, some training articles are taken",
    "sst": "the Stanford Sentiment Treebank, in lower case and without its escapes",
    "sentiment": "sentences of your own as trees, such as (1 (2 not) (3 good)), one a line, in "
    "train.txt, dev.txt (or valid.txt) and test.txt",
    "text": "text of your own for language modelling: one sentence or paragraph a line, words "
    "separated by spaces, in train.txt (or train-*.txt, a shard each), valid.txt and test.txt",
}
EPILOG = """\
Each file in --data {named}may end in .gz.
In OUT, prepared.json has the options, counts, checksums and versions.

example:
  scripts/prepare.sh {name} {data}--out data-bin/{name}
  scripts/train.sh data-bin/{name} --arch ..."""


def main(given: Sequence[str]) -> None:
    """Prepare a corpus, whose name is the first word of the command line."""
    name = first_word("scripts/prepare.sh", "CORPUS", ABOUT, given)
    args, rest = read(name, given[1:])
    if rest:
        parser_of(name).error(f"unrecognized arguments: {' '.join(rest)}")
    prepare(name, args)


def prepare(name: str, args: argparse.Namespace) -> None:
    """Prepare a corpus with its options, as `read` returns them."""
    corpus = CORPORA.get(name)
    if name in TRANSLATION:
        translation.prepare(corpus, args)
    elif kind := KINDS.get(name):
        labelled.prepare(name, kind, corpus, args)
    else:
        text.prepare(corpus, args)


def read(name: str, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of a corpus, one of `ABOUT`, and the words that are none of them."""
    parser = parser_of(name)
    if name in TRANSLATION:
        return read_translation(parser, words)
    return parser.parse_known_args(words)


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of the options of a corpus."""
    about = textwrap.fill(f"Prepare for fairseq: {ABOUT[name]}.", 100)
    data = "" if name in CORPORA else "--data FOLDER "
    named = "has its published name and " if name in CORPORA else ""
    epilog = EPILOG.format(named=named, data=data, name=name)
    parser = script_parser(f"scripts/prepare.sh {name}", about, epilog)
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder to create")
    source = parser.add_mutually_exclusive_group(required=name not in CORPORA)
    help = "read the files of the corpus from here"
    source.add_argument("--data", type=Path, metavar="FOLDER", help=help)
    if name in CORPORA:
        help = f"keep downloads here (default ~/.cache/fairseq_wsum/{name})"
        source.add_argument("--cache", type=Path, metavar="FOLDER", help=help)
    if name in TRANSLATION:
        add_translation(parser)
    elif kind := KINDS.get(name):
        kind.add_options(parser)
    elif name in ("gbw", "text"):
        add_text(parser, threshold=3 if name == "gbw" else 1)
    else:
        parser.set_defaults(threshold=1, nwords=None, shards=None)
    return parser


def add_text(parser: argparse.ArgumentParser, threshold: int) -> None:
    """The options of a text for language modelling, without a published dictionary."""
    add = parser.add_argument
    help = "the dictionary has the words that occur at least N times in the training text; others "
    help += f"become <unk> (default {threshold})"
    add("--threshold", type=positive, default=threshold, metavar="N", help=help)
    help = "limit the dictionary to N entries, including fairseq's four symbols, and keep the most "
    help += "frequent words (default: no limit)"
    add("--nwords", type=positive, metavar="N", help=help)
    help = "distribute the training files over N shards, in order (default: one shard per file)"
    add("--shards", type=positive, metavar="N", help=help)


def add_translation(parser: argparse.ArgumentParser) -> None:
    """The options of a parallel corpus."""
    add = parser.add_argument
    help = "lc.norm.tok: lower-cased, normalised, tokenised, as the literature scores Multi30k "
    help += "(default); raw: cased, as it is written"
    add("--text", choices=FORMS, default=FORMS[0], help=help)
    help = "bpe: one SentencePiece BPE model and dictionary for both languages (default); words: "
    help += "one dictionary per language; raw text is tokenised by sacremoses first"
    add("--units", choices=tuple(translation.SIZES), default="bpe", help=help)
    help = "BPE units (default 8000)"
    add("--bpe-size", type=positive, default=8000, metavar="N", help=help)
    help = "with --units bpe: share of the characters of the training text that get a unit, from "
    help += "0.98 to 1; the rarest become <unk> (default 1: all characters)"
    add("--character-coverage", type=float, default=1.0, metavar="P", help=help)
    help = "take the BPE model, the dictionaries and the options for the text from FOLDER, which "
    help += "this script has made, so that a model trained on FOLDER can be trained on OUT, or "
    help += "translate it: train and valid may then be missing"
    add("--like", type=Path, metavar="FOLDER", help=help)
    help = "with --units words: limit the dictionary of each language to N entries, including "
    help += "fairseq's four symbols (default 50000)"
    add("--nwords", type=positive, default=50000, metavar="N", help=help)
    help = "leave out training pairs with more than N BPE units or words on either side"
    add("--max-words", type=positive, metavar="N", help=help)
    for side, lang in zip(("source", "target"), LANGUAGES, strict=True):
        help = f"the {side} language (default {lang})"
        add(f"--{side}-lang", type=language, default=lang, metavar="LANG", help=help)


def read_translation(
    parser: argparse.ArgumentParser, words: Sequence[str]
) -> tuple[argparse.Namespace, list[str]]:
    """Read the options of a parallel corpus, and check that they go together."""
    args, rest = parser.parse_known_args(words)
    if args.like is not None:
        record = read_translation_record(args.like)
        names = ("text", "units", "source_lang", "target_lang")
        taken = {name: record[name] for name in (*names, *translation.SIZES[record["units"]])}
        parser.set_defaults(**taken)
        args, rest = parser.parse_known_args(words)
        for name, value in taken.items():
            if (given := getattr(args, name)) != value:
                parser.error(
                    f"{shown(name)} {given} with --like {args.like}, which was made with "
                    f"{shown(name)} {value}: leave one of the two options out"
                )
    for name in ("bpe_size", "character_coverage") if args.units == "words" else ("nwords",):
        if (given := getattr(args, name)) != parser.get_default(name):
            parser.error(f"{shown(name)} {given} does not go with --units {args.units}")
    args.languages = (args.source_lang, args.target_lang)
    if args.source_lang == args.target_lang:
        parser.error(f"--source-lang and --target-lang are both {args.source_lang}")
    return args, rest


def shown(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def language(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]\w*", text, re.ASCII):  # fairseq splits file names at . and -
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the code of a language, such as fr or pt_BR"
        )
    return text
