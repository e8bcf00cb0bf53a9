"""Prepare a corpus for fairseq: `fairseq-wsum prepare CORPUS --out DIR`.

scripts/prepare_CORPUS.sh calls it, and finds the Python environment.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..argument_types import positive
from . import labelled, text, translation
from .corpora import EWT, FORMS, GBW, GBW_ROOT, LANGUAGES, MULTI30K, PTB, SQUAD, SST, WIKITEXT2
from .files import folder, script_parser
from .folder import read_like
from .questions import QUESTIONS
from .sentiment import SENTIMENT
from .treebank import TREEBANK

CORPORA = {one.name: one for one in (MULTI30K, PTB, WIKITEXT2, GBW, EWT, SQUAD, SST)}
KINDS = {one.own: one for one in (TREEBANK, QUESTIONS, SENTIMENT)}
KINDS |= {"ewt": TREEBANK, "squad": QUESTIONS, "sst": SENTIMENT}

TRANSLATION_FILES = """\
files in OUT:
  train, valid, test and dict files   fairseq's data, for `scripts/train.sh OUT`
  text/SPLIT.LANG                     the same as text, cut into units
  reference/SPLIT.FORM.LANG           the unchanged text to score against
  spm.model                           with --units bpe: the BPE model
  prepared.json                       the options, counts, checksums and versions"""

TEXT_FILES = """\
files in OUT:
  train, valid, test and dict.txt     fairseq's data, for `scripts/train.sh OUT --task ...`
  prepared.json                       the options, counts, checksums and versions"""

RECORD = "  prepared.json                       the options, counts, checksums and versions"
WORDS = "  dict.txt                            the words of the training set, in lower case"

TREEBANK_HELP = f"""\
examples:
  fairseq-wsum prepare ewt --out data-bin/ewt
  fairseq-wsum prepare treebank --data ~/corpora/UD_German-GSD --out data-bin/gsd

files in OUT:
  SPLIT.conllu                        the treebank, for --task wsum_dependency_parsing
{WORDS}
  dict.deprel.txt, dict.upos.txt ...  the values of these columns
{RECORD}"""

QUESTIONS_HELP = f"""\
examples:
  fairseq-wsum prepare squad --out data-bin/squad
  fairseq-wsum prepare questions --data ~/corpora/mine --valid-articles 2 --out data-bin/mine

files in OUT:
  train, valid and test.json          the questions, for --task wsum_span_prediction
{WORDS}
{RECORD}"""

SENTIMENT_HELP = f"""\
examples:
  fairseq-wsum prepare sst --labels 2 --out data-bin/sst2
  fairseq-wsum prepare sentiment --data ~/corpora/reviews --no-phrases --out data-bin/reviews

files in OUT:
  input0, label                       fairseq's data, for --task sentence_prediction
  trees/SPLIT.txt                     the trees
{RECORD}"""

SHARDS = """\
  shard-002/train ...                 the other shards, if there are any, with a link to dict.txt.
                                      fairseq reads one shard per epoch:
                                      `scripts/train.sh OUT:OUT/shard-002:... --task ...`"""

# the help before and after the options
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

  # words, training sentences of at most 50 words, from local files
  scripts/prepare_multi30k.sh --data ~/corpora/multi30k --units words --max-words 50 \\
      --out data-bin/multi30k-words

{TRANSLATION_FILES}

The files in --data have the published names, such as train.lc.norm.tok.en.gz.""",
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
    ),
    "ptb": (
        """\
Prepare Mikolov's version of the Penn Treebank (lower case, 10,000 words, numbers as N) for fairseq:
929,589 training, 73,760 validation and 82,430 test tokens, including sentence ends.""",
        f"""\
examples:
  scripts/prepare_ptb.sh --out data-bin/ptb

{TEXT_FILES}

The files in --data are ptb.train.txt, ptb.valid.txt and ptb.test.txt, or their .gz.""",
    ),
    "wikitext2": (
        """\
Prepare WikiText-2, the version with words (Merity et al., 2016), for fairseq: 2,088,628 training,
217,646 validation and 245,569 test tokens. Every line ends with a token, and so do empty lines.""",
        f"""\
examples:
  scripts/prepare_wikitext2.sh --out data-bin/wikitext2

{TEXT_FILES}

The files in --data are wiki.train.tokens, wiki.valid.tokens and wiki.test.tokens, or their .gz.""",
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

  # the unpacked folder, the most frequent words only, and 10 shards
  scripts/prepare_gbw.sh --data ~/corpora/{GBW_ROOT} \\
      --nwords 100000 --shards 10 --out data-bin/gbw-100k

{TEXT_FILES}
{SHARDS}

--data is {GBW_ROOT},
the unpacked folder, or its .tar.gz, which is unpacked beside OUT: this needs 8 GB.""",
    ),
    "ewt": (
        """\
Prepare the English Web Treebank of Universal Dependencies, release 2.16, for fairseq: 12,544
training, 2,001 validation and 2,077 test sentences (204,577, 25,147 and 25,094 words). The files in
--data have the published names, such as en_ewt-ud-train.conllu, or are their .gz.""",
        TREEBANK_HELP,
    ),
    "treebank": (
        """\
Prepare a treebank of your own in CoNLL-U for fairseq, such as another one of Universal
Dependencies. The names of its files in --data end in train.conllu, dev.conllu (or valid.conllu) and
test.conllu. Each may end in .gz.""",
        TREEBANK_HELP,
    ),
    "squad": (
        """\
Prepare SQuAD 1.1 (Rajpurkar et al., 2016) for fairseq: 87,599 questions for training, of which
those about one article in twenty are for validation, and 10,570 of the development set, which
become `test`, because the test set is not public. The files in --data are train-v1.1.json and
dev-v1.1.json, or their .gz.""",
        QUESTIONS_HELP,
    ),
    "questions": (
        """\
Prepare questions of your own in the format of SQuAD 1.1 for fairseq. The names of their files in
--data begin with train, with dev or test, and with valid; each may end in .gz. Without the last
one, some articles of the training set are for validation.""",
        QUESTIONS_HELP,
    ),
    "sst": (
        """\
Prepare the Stanford Sentiment Treebank for fairseq, in lower case: 8,544 training, 1,101 validation
and 2,210 test sentences with --labels 5, and 6,920, 872 and 1,821 with --labels 2, which leaves out
the neutral ones. The training set has all labelled phrases, each with each of its labels once:
157,396 or 77,201. The words of the trees lose their escapes: -LRB- becomes (, \\/ becomes /, and
`` and '' become ". The files in --data are train.txt, dev.txt and test.txt, or their .gz.""",
        SENTIMENT_HELP,
    ),
    "sentiment": (
        """\
Prepare sentences of your own for fairseq, as trees like those of the Stanford Sentiment Treebank.
The files in --data are train.txt, dev.txt (or valid.txt) and test.txt with a tree a line, such as
(1 (2 not) (3 good)). Each may end in .gz.""",
        SENTIMENT_HELP,
    ),
    "text": (
        """\
Prepare text of your own for language modelling: one sentence or paragraph per line, words separated
by spaces. Its files in --data are train.txt, valid.txt and test.txt. The training text may also be
in several files, train-*.txt, which are read in the order of their names. Each may end in .gz.""",
        f"""\
examples:
  scripts/prepare_text.sh --data ~/corpora/mine --nwords 50000 --out data-bin/mine

{TEXT_FILES}
{SHARDS}""",
    ),
}


def main(given: Sequence[str]) -> None:
    """Prepare a corpus, whose name is the first word of the command line."""
    name, *words = given or [""]
    if name not in HELP:
        sys.exit(
            f"usage: fairseq-wsum prepare CORPUS [options]; CORPUS is one of {', '.join(HELP)}"
        )
    description, epilog = HELP[name]
    if name in CORPORA:
        epilog += f"\n\n{name.upper()}_URL in the environment replaces the address of the files."
    script = f"fairseq-wsum prepare {name}" if name in KINDS else f"prepare_{name}.sh"
    parser = script_parser(script, description, epilog)
    parser.add_argument("--out", type=folder, required=True, metavar="DIR", help="folder to create")
    source = parser.add_mutually_exclusive_group(required=name not in CORPORA)
    help = "read the files of the corpus from here"
    source.add_argument("--data", type=Path, metavar="FOLDER", help=help)
    if name in CORPORA:
        help = f"keep downloads here (default ~/.cache/fairseq_wsum/{name})"
        source.add_argument("--cache", type=Path, metavar="FOLDER", help=help)
    if name in ("multi30k", "translation"):
        add_translation(parser)
        translation.prepare(CORPORA.get(name), read_translation(parser, words))
        return
    if kind := KINDS.get(name):
        kind.add_options(parser)
        labelled.prepare(kind, CORPORA.get(name), parser.parse_args(words))
        return
    if name in ("gbw", "text"):
        add_text(parser, threshold=3 if name == "gbw" else 1)
    else:
        parser.set_defaults(threshold=1, nwords=None, shards=None)
    text.prepare(CORPORA.get(name), parser.parse_args(words))


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
    help += "this script has made, so that a model trained on FOLDER can be trained on OUT"
    add("--like", type=Path, metavar="FOLDER", help=help)
    help = "with --units words: limit the dictionary of each language to N entries, including "
    help += "fairseq's four symbols (default 50000)"
    add("--nwords", type=positive, default=50000, metavar="N", help=help)
    help = "leave out training pairs with more than N BPE units or words on either side"
    add("--max-words", type=positive, metavar="N", help=help)
    for side, lang in zip(("source", "target"), LANGUAGES, strict=True):
        help = f"the {side} language (default {lang})"
        add(f"--{side}-lang", type=language, default=lang, metavar="LANG", help=help)


def read_translation(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the options of a parallel corpus, and check that they go together."""
    args = parser.parse_args(words)
    if args.like is not None:
        record = read_like(args.like)
        names = ("text", "units", "source_lang", "target_lang")
        taken = {name: record[name] for name in (*names, *translation.SIZES[record["units"]])}
        parser.set_defaults(**taken)
        args = parser.parse_args(words)
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
    return args


def shown(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def language(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]\w*", text, re.ASCII):  # fairseq splits file names at . and -
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the code of a language, such as fr or pt_BR"
        )
    return text
