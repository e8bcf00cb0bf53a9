"""Turn Multi30k task 1, English to German, or another parallel corpus, into fairseq's binary data.

Run it with prepare_multi30k.sh, which finds the Python environment.
"""

from __future__ import annotations

import argparse
import io
import re
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import data_folder
from common import (
    UserError,
    check_source,
    corpus_parser,
    listed,
    positive,
    run,
    versions,
    write_lines,
)
from corpus_files import check_symbols, lines, sha256
from data_folder import dictionary_size, is_done, new_folder, write_record
from multi30k_files import FORMS, LANGUAGES, SPLITS, file_name, read_corpus, splits_in

HELP = """\
Prepare Multi30k (WMT16 multimodal, English to German, text only) for fairseq:
29,000 training, 1,014 validation and 1,000 test sentences (test_2016_flickr).

--own-corpus prepares another parallel corpus, in any two languages. Its files in --data have one
sentence a line. They are train.LANG, valid.LANG and test.LANG for --text raw, and
train.lc.norm.tok.LANG and so on for text that is lower-cased and tokenised. Each may end in .gz."""

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

files in OUT:
  train, valid, test and dict files   fairseq's data, for `fairseq-train OUT`
  text/SPLIT.LANG                     the same as text, cut into units
  sample-01 ...                       with --bpe-dropout: other segmentations of the training text;
                                      `fairseq-train OUT:OUT/sample-01:...` uses one per epoch
  reference/SPLIT.FORM.LANG           the unchanged text to score against
  spm.model                           with --units bpe: the BPE model
  prepared.json                       the options, counts, checksums and versions, which
                                      scripts/score.sh reads

MULTI30K_URL in the environment replaces the address of the files
(the folder that holds raw/ and tok/)."""


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
        default="lc.norm.tok",
        help="lc.norm.tok: lower-cased, normalised, tokenised, as the literature scores it "
        "(default); raw: cased, as published",
    )
    add(
        "--units",
        choices=("bpe", "words"),
        default="bpe",
        help="bpe: one SentencePiece BPE model and dictionary for both languages (default); "
        "words: one dictionary per language; raw text is tokenised by sacremoses first",
    )
    add("--bpe-size", type=positive, metavar="N", help="BPE units (default 8000)")
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
            default=lang,
            metavar="LANG",
            help=f"the {side} language (default {lang}); others than Multi30k's need --own-corpus",
        )
    args = parser.parse_args()
    check_source(parser, args, "MULTI30K_URL")
    args.splits = splits_in(args)
    args.languages = (args.source_lang, args.target_lang)
    if args.source_lang == args.target_lang:
        parser.error(f"--source-lang and --target-lang are both {args.source_lang}")
    if {*args.languages} != {*LANGUAGES} and not args.own_corpus:
        parser.error(
            f"--source-lang {args.source_lang} --target-lang {args.target_lang}: Multi30k is here "
            "in en and de; give --own-corpus for another corpus"
        )
    words = args.units == "words"
    for option, value, needed in (
        ("--bpe-dropout", args.bpe_dropout, words and "--units bpe"),
        ("--bpe-size", args.bpe_size, words and "--units bpe"),
        ("--bpe-samples", args.bpe_samples, not args.bpe_dropout and "--bpe-dropout"),
        ("--nwords", args.nwords, not words and "--units words"),
    ):
        if value is not None and needed:
            parser.error(f"{option} {value} needs {needed}")
    args.bpe_size = args.bpe_size or 8000
    args.bpe_samples = args.bpe_samples or 10
    args.nwords = args.nwords or 50000
    return args


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
    settings = {
        "corpus": "multi30k",
        "script": "prepare_multi30k.sh",
        "text": args.text,
        "units": args.units,
        "max_words": args.max_words,
        "own_corpus": args.own_corpus,
        "source_lang": args.source_lang,
        "target_lang": args.target_lang,
        **({"bpe_size": args.bpe_size} if args.units == "bpe" else {"nwords": args.nwords}),
        "bpe_dropout": args.bpe_dropout,
        **({"bpe_samples": args.bpe_samples} if args.bpe_dropout else {}),
    }
    if is_done(args, settings, lambda: sums(read_corpus(args))):
        return

    texts = read_corpus(args)
    with new_folder(args.out.resolve(), settings) as partial:
        counts = write_text(partial, texts, args)
        binarise(partial, args)
        words = {lang: dictionary_size(partial / f"dict.{lang}.txt") for lang in args.languages}
        record = {
            **settings,
            "post_process": "sentencepiece" if args.units == "bpe" else None,
            "sentences": counts,
            "dictionary": words,
            "sha256": sums(texts),
            "versions": versions("fairseq", "fairseq-fixed", "sentencepiece", "sacremoses"),
        }
        write_record(partial, record)
    print(f"{args.out}: sentences: {listed(counts)}; dictionary: {listed(words)}")


def sums(texts: dict[str, bytes]) -> dict[str, str]:
    return {name: sha256(raw) for name, raw in sorted(texts.items())}


def write_text(folder: Path, texts: dict[str, bytes], args: argparse.Namespace) -> dict[str, int]:
    """Write text/, reference/ and, for BPE, spm.model and its dictionary; return line counts."""
    (folder / "text").mkdir()
    (folder / "reference").mkdir()
    # Use one kind of space: fairseq splits at any, including the no-break space in raw text.
    corpus = {
        (split, lang): [
            " ".join(line.split()) for line in lines(texts[file_name(args, split, args.text, lang)])
        ]
        for split in SPLITS
        for lang in args.languages
    }
    if args.units == "bpe":
        both = [line for lang in args.languages for line in corpus["train", lang]]
        encode = bpe(folder / "spm.model", both, args)
        units = {key: encode(text) for key, text in corpus.items()}
    elif args.text == "raw":
        units = {key: moses(text, lang=key[1]) for key, text in corpus.items()}
    else:
        units = corpus

    # Check the units, as BPE and sacremoses split such words in the text. BPE keeps a word whole if
    # the training text has none of its characters.
    for (split, lang), text in units.items():
        check_symbols(file_name(args, split, args.text, lang), text)
    counts = {}
    for split in SPLITS:
        sides = {lang: units[split, lang] for lang in args.languages}
        max_words = args.max_words if split == "train" else None
        counts[split] = write_pairs(folder / "text" / split, sides, max_words)
        for form in FORMS if split != "train" else ():
            for lang in args.languages:
                name = file_name(args, split, form, lang)
                if name in texts:
                    (folder / "reference" / f"{split}.{form}.{lang}").write_bytes(texts[name])
    if args.units == "bpe":
        write_bpe_dictionary(folder, args.languages)
    for sample in sample_names(args):
        sides = {lang: encode(corpus["train", lang], args.bpe_dropout) for lang in args.languages}
        write_pairs(folder / "text" / sample, sides, args.max_words)
    return counts


def write_pairs(prefix: Path, sides: dict[str, list[str]], max_words: int | None) -> int:
    """Write PREFIX.LANG without pairs that are too long; return the number of pairs written."""
    pairs = list(zip(*sides.values(), strict=True))
    if max_words is not None:
        pairs = [p for p in pairs if max(len(side.split()) for side in p) <= max_words]
        if not pairs:
            raise UserError(f"--max-words {max_words} leaves no training pairs")
    for lang, side in zip(sides, zip(*pairs, strict=True), strict=True):
        write_lines(prefix.with_name(f"{prefix.name}.{lang}"), side)
    return len(pairs)


def sample_names(args: argparse.Namespace) -> list[str]:
    """The names of the other segmentations of the training text."""
    return [f"sample-{i:02d}" for i in range(1, args.bpe_samples + 1) if args.bpe_dropout]


class Encode(Protocol):
    """Cuts sentences into BPE pieces, at random if `dropout` is positive."""

    def __call__(self, text: list[str], dropout: float = 0) -> list[str]: ...


def bpe(model: Path, text: list[str], args: argparse.Namespace) -> Encode:
    """Train the joint BPE model; return a function that cuts sentences into pieces."""
    import sentencepiece

    print(f"learning {args.bpe_size} BPE units on {len(text):,} sentences")
    buffer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text),
            model_writer=buffer,
            model_type="bpe",
            vocab_size=args.bpe_size,
            character_coverage=1.0,
            # No normalisation, so that undoing the BPE restores the text exactly.
            normalization_rule_name="identity",
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).splitlines()[-1]
        raise UserError(f"--bpe-size {args.bpe_size} does not suit this text: {reason}") from error
    model.write_bytes(buffer.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=buffer.getvalue())
    sentencepiece.set_random_generator_seed(1)

    def encode(text: list[str], dropout: float = 0) -> list[str]:
        # One sentence at a time: each thread of a batch would draw the same random numbers.
        sampling = dict[str, Any](enable_sampling=dropout > 0, alpha=dropout)
        return [" ".join(processor.encode(line, out_type=str, **sampling)) for line in text]

    return encode


def write_bpe_dictionary(folder: Path, languages: tuple[str, ...]) -> None:
    """Write text/dict.txt, fairseq's dictionary, with all pieces of the model by frequency."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    ids = range(model.get_piece_size())
    pieces = [model.id_to_piece(i) for i in ids if not (model.is_unknown(i) or model.is_control(i))]
    seen = Counter(
        piece
        for lang in languages
        for piece in (folder / "text" / f"train.{lang}").read_text("utf-8").split()
    )
    pieces.sort(key=lambda piece: (-seen[piece], piece))
    entries = [f"{piece} {seen[piece]}" for piece in pieces]
    # Pad to a multiple of 8 with fairseq's four symbols, as fairseq does: GPUs run faster.
    entries += [f"madeupword{i:04d} 0" for i in range(-(len(entries) + 4) % 8)]
    write_lines(folder / "text" / "dict.txt", entries)


def moses(text: list[str], lang: str) -> list[str]:
    from sacremoses import MosesTokenizer

    tokenizer = MosesTokenizer(lang=lang)
    return [
        " ".join(tokenizer.tokenize(line, escape=False, return_str=True).split()) for line in text
    ]


def binarise(folder: Path, args: argparse.Namespace) -> None:
    preprocess(folder, ".", {split: f"text/{split}" for split in SPLITS}, args)
    for sample in sample_names(args):
        preprocess(folder, sample, {"train": f"text/{sample}"}, args)


def preprocess(folder: Path, destdir: str, prefs: dict[str, str], args: argparse.Namespace) -> None:
    options = ["--source-lang", args.source_lang, "--target-lang", args.target_lang]
    options += ["--workers", str(args.workers)]
    if args.units == "bpe":
        options += ["--joined-dictionary", "--srcdict", "text/dict.txt"]
    else:
        options += ["--nwordssrc", str(args.nwords), "--nwordstgt", str(args.nwords)]
    log = data_folder.preprocess(folder, destdir, prefs, options)
    for line in log.splitlines():
        if "% replaced" in line:
            print("  " + line.rpartition(" text/")[2])


if __name__ == "__main__":
    run(main)
