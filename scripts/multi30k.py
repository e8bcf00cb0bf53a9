"""Turn Multi30k task 1, English to German, or another parallel corpus, into fairseq's binary data.

Run it with prepare_multi30k.sh, which finds the Python environment.
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import bpe
import data_folder
from common import UserError, each_line, line_count, listed, open_text, run, versions
from corpus_files import check_line, sha256
from data_folder import (
    dictionary_size,
    is_done,
    new_folder,
    vocabulary,
    vocabulary_sum,
    write_record,
)
from multi30k_files import FORMS, SPLITS, file_name, read_corpus
from multi30k_options import SIZES, parse

Pair = tuple[str, ...]  # a sentence in both languages


def main() -> None:
    prepare(parse())


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
