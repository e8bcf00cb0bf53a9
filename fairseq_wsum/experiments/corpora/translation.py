"""A parallel corpus as fairseq's binary data: Multi30k, English to German, or one's own."""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..program import UserError, listed
from ..text_files import language_of, open_text
from . import bpe
from .folder import (
    encode,
    is_done,
    load_dictionary,
    make_dictionary,
    new_folder,
    vocabulary,
    vocabulary_sum,
    write_record,
)
from .published import FORMS, MULTI30K, Corpus
from .reading import check_line, locate, needed, read_lines, read_text, text_sha256

Pair = tuple[str, ...]  # a sentence in both languages
SIZES = {"bpe": ("bpe_size", "character_coverage"), "words": ("nwords",)}  # options of the units


def prepare(corpus: Corpus | None, args: argparse.Namespace) -> None:
    """Prepare Multi30k, or the text of one's own in --data."""
    settings: dict[str, object] = {
        "corpus": "translation" if corpus is None else corpus.name,
        "text": args.text,
        "units": args.units,
        "max_words": args.max_words,
        "source_lang": args.source_lang,
        "target_lang": args.target_lang,
        **{option: getattr(args, option) for option in SIZES[args.units]},
        "like": None,
    }
    if args.like is not None:
        settings["like"] = vocabulary_sum(args.like, settings)
    if is_done(args.out, settings, None if corpus is not None else lambda: sums(read(None, args))):
        return

    texts = read(corpus, args)
    checksums = sums(texts)
    with new_folder(args.out) as partial:
        counts, left_out = write_text(partial, texts, args)
        words = binarise(partial, args.languages, counts)
        record = {
            **settings,
            "sentences": counts,
            "left_out": left_out,
            "dictionary": words,
            "sha256": checksums,
        }
        write_record(partial, record)
    print(f"{args.out}: sentences: {listed(counts)}; dictionary: {listed(words)}")
    if any(left_out.values()):
        print(
            f"  training pairs left out: {left_out['empty']:,} with an empty side, "
            f"{left_out['max_words']:,} by --max-words"
        )


# The files

Key = tuple[str, str, str]  # split, form, language
Texts = dict[Key, Path]


def read(corpus: Corpus | None, args: argparse.Namespace) -> Texts:
    """The needed texts: all of --text, and the other form of valid and test to score against."""
    texts: Texts = {}
    for split, (name,) in MULTI30K.splits.items():
        # one's own files may have the names of Multi30k's
        if corpus is None and not any(args.data.glob(f"{name}.*")):
            name = split
            if args.like is not None and split != "test" and not any(args.data.glob(f"{name}.*")):
                continue  # a text to translate needs no other
        found: Texts = {}
        for form in (args.text,) if split == "train" else FORMS:
            for lang in args.languages:
                file = f"{name}.{lang}" if form == "raw" else f"{name}.{form}.{lang}"
                path = find(file, form, corpus, args)
                if path is not None:
                    found[split, form, lang] = path
                    if corpus is not None:
                        corpus.check(file, text_sha256(path), path, args.data)
        check_same_lines(found)
        texts |= found
    return texts


def find(file: str, form: str, corpus: Corpus | None, args: argparse.Namespace) -> Path | None:
    """The path of a file; None if there is none, and it is only for scoring."""
    if form != args.text and args.data is not None and locate(file, args.data) is None:
        print(f"{args.data} has no {file}: scripts/score.sh will not score against it")
        return None
    if corpus is not None:
        return corpus.find(file, args.data, args.cache)
    return needed(file, args.data, "add it, or see --text, --source-lang and --target-lang")


def check_same_lines(texts: Texts) -> None:
    sizes = {path.name: line_count(path) for path in texts.values()}
    if len(set(sizes.values())) > 1:
        counted = ", ".join(f"{name} has {n} lines" for name, n in sizes.items())
        raise UserError(f"the files do not match: {counted}; line n must translate line n")
    if 0 in sizes.values():
        raise UserError(f"{' and '.join(sizes)} are empty: give files with a sentence in each line")


def sums(texts: Texts) -> dict[str, str]:
    return {path.name.removesuffix(".gz"): text_sha256(path) for path in sorted(texts.values())}


# Their units


def write_text(
    folder: Path, texts: Texts, args: argparse.Namespace
) -> tuple[dict[str, int], dict[str, int]]:
    """Write text/, reference/ and, for BPE, spm.model and its dictionary.

    Returns:
        the number of lines of each split, and of training pairs left out for each reason.
    """
    (folder / "text").mkdir()
    (folder / "reference").mkdir()
    if args.like is not None:
        for name in vocabulary(vars(args)):
            shutil.copy(args.like / name, folder)
    elif args.units == "bpe":
        train = [texts["train", args.text, lang] for lang in args.languages]
        number = sum(map(line_count, train))
        print(f"learning {args.bpe_size} BPE units on {number:,} sentences", flush=True)
        text = (sentence for path in train for sentence in sentences(path))
        bpe.learn(folder / "spm.model", text, args.bpe_size, args.character_coverage)
    model = bpe.load(folder / "spm.model") if args.units == "bpe" else None

    def units(split: str, lang: str) -> Iterator[str]:
        path = texts[split, args.text, lang]
        text = sentences(path)
        if model is not None:
            text = bpe.segmented(model, text)
        elif args.text == "raw":
            text = moses(text, lang)
        # Check the units, as BPE and sacremoses split fairseq's symbols in the text. BPE keeps a
        # word whole if the training text has none of its characters.
        for number, line in enumerate(text, start=1):
            check_line(path, number, line.split())
            yield line

    counts, left_out = {}, Counter(empty=0, max_words=0)
    for split in dict.fromkeys(split for split, _, _ in texts):
        pairs: Iterator[Pair] = zip(*(units(split, lang) for lang in args.languages), strict=True)
        if split == "train":
            pairs = usable(pairs, args.max_words, left_out)
        counts[split] = write_pairs(folder / "text" / split, args.languages, pairs)
    for (split, form, lang), path in texts.items():
        if split != "train":
            (folder / "reference" / f"{split}.{form}.{lang}").write_bytes(read_text(path))
    if args.like is None:
        write_dictionaries(folder, model, args)
    return counts, dict(left_out)


def line_count(path: Path) -> int:
    return sum(1 for _ in read_lines(path))


def sentences(path: Path) -> Iterator[str]:
    """The lines with one kind of space: fairseq splits at any, such as a no-break space."""
    return (" ".join(line.split()) for line in read_lines(path))


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


def moses(text: Iterable[str], lang: str) -> Iterator[str]:
    from sacremoses import MosesTokenizer

    tokenizer = MosesTokenizer(lang=language_of(lang))
    return (
        " ".join(tokenizer.tokenize(line, escape=False, return_str=True).split()) for line in text
    )


def write_dictionaries(folder: Path, model: Any, args: argparse.Namespace) -> None:
    """Write fairseq's dictionaries: the units of the BPE model, or the words of each language."""
    words: dict[str, Mapping[str, int]] = {}
    for lang in args.languages:
        text = split_lines(folder / "text" / f"train.{lang}")
        words[lang] = Counter(word for sentence in text for word in sentence)
    if model is not None:
        both: Counter[str] = sum(map(Counter, words.values()), Counter())
        units = {piece: both[piece] for piece in bpe.pieces(model)}
        words = dict.fromkeys(words, units)
    nwords = None if model is not None else args.nwords
    for lang, found in words.items():
        dictionary = make_dictionary(found, threshold=0, nwords=nwords, padding=8)
        dictionary.save(str(folder / f"dict.{lang}.txt"))


def binarise(folder: Path, languages: tuple[str, str], splits: Iterable[str]) -> dict[str, int]:
    """Write fairseq's binary data, print how much became <unk>, and return the dictionaries' sizes.

    The data and the dictionaries are those of fairseq-preprocess.
    """
    sizes = {}
    for lang in languages:
        dictionary = load_dictionary(folder / f"dict.{lang}.txt")
        sizes[lang] = len(dictionary)
        for split in splits:
            prefix = folder / f"{split}.{'-'.join(languages)}.{lang}"
            n = encode(prefix, split_lines(folder / "text" / f"{split}.{lang}"), dictionary)
            print(
                f"  {split}.{lang}: {n['sentences']:,} sentences, {n['tokens']:,} tokens, "
                f"{n['unseen'] / n['tokens']:.2%} replaced by <unk>"
            )
    return sizes


def split_lines(path: Path) -> Iterator[list[str]]:
    """The words of each line of a file."""
    with open_text(path) as file:
        yield from map(str.split, file)
