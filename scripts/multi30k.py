"""Turn Multi30k task 1, English to German, or another parallel corpus, into fairseq's binary data.

Run it with prepare_multi30k.sh, which finds the Python environment.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import bpe
import data_folder
from common import (
    UserError,
    check_source,
    corpus_parser,
    each_line,
    line_count,
    listed,
    open_text,
    positive,
    run,
    versions,
)
from corpus_files import check_line, sha256
from data_folder import (
    dictionary_size,
    is_done,
    new_folder,
    read_like,
    vocabulary,
    vocabulary_sum,
    write_record,
)
from multi30k_files import FORMS, LANGUAGES, SPLITS, file_name, read_corpus, splits_in

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

Pair = tuple[str, ...]  # a sentence in both languages

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


def main() -> None:
    prepare(parse())


def parse() -> argparse.Namespace:
    parser = corpus_parser("prepare_multi30k.sh", HELP, EXAMPLES)
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="read the published files from here, such as train.lc.norm.tok.en.gz",
    )
    add(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="without --data: keep downloaded files here (default ~/.cache/fairseq_wsum/multi30k)",
    )
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


def prepare(args: argparse.Namespace) -> None:
    settings: dict[str, object] = {
        "corpus": "multi30k",
        "script": "prepare_multi30k.sh",
        "text": args.text,
        "units": args.units,
        "max_words": args.max_words,
        "own_corpus": args.own_corpus,
        "source_lang": args.source_lang,
        "target_lang": args.target_lang,
        **{name: getattr(args, name) for name in SIZES[args.units]},
        "like": None,
        "bpe_dropout": args.bpe_dropout,
        **({"bpe_samples": args.bpe_samples} if args.bpe_dropout else {}),
    }
    if args.like is not None:
        settings["like"] = vocabulary_sum(args.like, settings)
    if is_done(args, settings, lambda: sums(read_corpus(args))):
        return

    texts = read_corpus(args)
    checksums = sums(texts)
    with new_folder(args.out.resolve(), settings) as partial:
        counts, left_out = write_text(partial, texts, args)
        texts.clear()  # fairseq-preprocess needs memory, too
        binarise(partial, args)
        words = {lang: dictionary_size(partial / f"dict.{lang}.txt") for lang in args.languages}
        record = {
            **settings,
            "post_process": "sentencepiece" if args.units == "bpe" else None,
            "sentences": counts,
            "left_out": left_out,
            "dictionary": words,
            "sha256": checksums,
            "versions": versions("fairseq", "fairseq-fixed", "sentencepiece", "sacremoses"),
        }
        write_record(partial, record)
    print(f"{args.out}: sentences: {listed(counts)}; dictionary: {listed(words)}")
    if any(left_out.values()):
        print(
            f"  training pairs left out: {left_out['empty']:,} with an empty side, "
            f"{left_out['max_words']:,} by --max-words"
        )


def sums(texts: dict[str, bytes]) -> dict[str, str]:
    return {name: sha256(raw) for name, raw in sorted(texts.items())}


def write_text(
    folder: Path, texts: dict[str, bytes], args: argparse.Namespace
) -> tuple[dict[str, int], dict[str, int]]:
    """Write text/, reference/ and, for BPE, spm.model and its dictionary.

    Returns:
        the number of lines of each split, and of training pairs left out for each reason.
    """
    (folder / "text").mkdir()
    (folder / "reference").mkdir()
    if args.like is not None:
        copy_vocabulary(folder, args)
    elif args.units == "bpe":
        train = [texts[file_name(args, "train", args.text, lang)] for lang in args.languages]
        number = sum(map(line_count, train))
        print(f"learning {args.bpe_size} BPE units on {number:,} sentences", flush=True)
        text = (sentence for raw in train for sentence in sentences(raw))
        bpe.learn(folder / "spm.model", text, args.bpe_size, args.character_coverage)
    model = bpe.load(folder / "spm.model") if args.units == "bpe" else None

    def units(split: str, lang: str, dropout: float = 0) -> Iterator[str]:
        name = file_name(args, split, args.text, lang)
        text = sentences(texts[name])
        if model is not None:
            text = bpe.segmented(model, text, dropout)
        elif args.text == "raw":
            text = moses(text, lang)
        # Check the units, as BPE and sacremoses split fairseq's symbols in the text. BPE keeps a
        # word whole if the training text has none of its characters.
        for number, line in enumerate(text, start=1):
            check_line(name, number, line.split())
            yield line

    counts, left_out = {}, Counter(empty=0, max_words=0)
    for split in SPLITS:
        pairs: Iterator[Pair] = zip(*(units(split, lang) for lang in args.languages), strict=True)
        if split == "train":
            pairs = usable(pairs, args.max_words, left_out)
        counts[split] = write_pairs(folder / "text" / split, args.languages, pairs)
        for form in FORMS if split != "train" else ():
            for lang in args.languages:
                name = file_name(args, split, form, lang)
                if name in texts:
                    (folder / "reference" / f"{split}.{form}.{lang}").write_bytes(texts[name])
    if model is not None and args.like is None:
        train_files = [folder / "text" / f"train.{lang}" for lang in args.languages]
        bpe.write_dictionary(folder / "text" / "dict.txt", model, train_files)
    for sample in sample_names(args):
        # One side after the other, as both draw from the same random numbers.
        sides = [list(units("train", lang, args.bpe_dropout)) for lang in args.languages]
        pairs = usable(zip(*sides, strict=True), args.max_words, Counter())
        write_pairs(folder / "text" / sample, args.languages, pairs)
    return counts, dict(left_out)


def sentences(raw: bytes) -> Iterator[str]:
    """The lines with one kind of space: fairseq splits at any, such as a no-break space."""
    return (" ".join(line.split()) for line in each_line(raw))


def usable(pairs: Iterable[Pair], max_words: int | None, left_out: Counter[str]) -> Iterator[Pair]:
    """The training pairs that have text on both sides and are not too long; count the others."""
    found = False
    for pair in pairs:
        sizes = [len(side.split()) for side in pair]
        if min(sizes) == 0:
            left_out["empty"] += 1
        elif max_words is not None and max(sizes) > max_words:
            left_out["max_words"] += 1
        else:
            found = True
            yield pair
    if not found and left_out["max_words"]:
        raise UserError(f"--max-words {max_words} leaves no training pairs")
    if not found:
        raise UserError("no training pair has text on both sides: line n must translate line n")


def write_pairs(prefix: Path, languages: tuple[str, str], pairs: Iterable[Pair]) -> int:
    """Write PREFIX.LANG for both languages; return the number of pairs."""
    one, other = (prefix.with_name(f"{prefix.name}.{lang}") for lang in languages)
    n = 0
    with open_text(one, "w") as source, open_text(other, "w") as target:
        for pair in pairs:
            source.write(f"{pair[0]}\n")
            target.write(f"{pair[1]}\n")
            n += 1
    return n


def sample_names(args: argparse.Namespace) -> list[str]:
    """The names of the other segmentations of the training text."""
    return [f"sample-{i:02d}" for i in range(1, args.bpe_samples + 1) if args.bpe_dropout]


def copy_vocabulary(folder: Path, args: argparse.Namespace) -> None:
    """Copy the files of --like; fairseq-preprocess writes the dictionaries once more."""
    for name in vocabulary(vars(args)):
        to = folder if name == "spm.model" else folder / "text"
        shutil.copyfile(args.like / name, to / name)


def moses(text: Iterable[str], lang: str) -> Iterator[str]:
    from sacremoses import MosesTokenizer

    tokenizer = MosesTokenizer(lang=lang)
    return (
        " ".join(tokenizer.tokenize(line, escape=False, return_str=True).split()) for line in text
    )


def binarise(folder: Path, args: argparse.Namespace) -> None:
    preprocess(folder, ".", {split: f"text/{split}" for split in SPLITS}, args)
    for sample in sample_names(args):
        preprocess(folder, sample, {"train": f"text/{sample}"}, args)


def preprocess(folder: Path, destdir: str, prefs: dict[str, str], args: argparse.Namespace) -> None:
    options = ["--source-lang", args.source_lang, "--target-lang", args.target_lang]
    options += ["--workers", str(args.workers)]
    if args.like is not None:
        options += ["--srcdict", f"text/dict.{args.source_lang}.txt"]
        options += ["--tgtdict", f"text/dict.{args.target_lang}.txt"]
    elif args.units == "bpe":
        options += ["--joined-dictionary", "--srcdict", "text/dict.txt"]
    else:
        options += ["--nwordssrc", str(args.nwords), "--nwordstgt", str(args.nwords)]
    log = data_folder.preprocess(folder, destdir, prefs, options)
    for line in log.splitlines():
        if "% replaced" in line:
            print("  " + line.rpartition(" text/")[2])


if __name__ == "__main__":
    run(main)
