"""The sentences that are given to `fairseq-wsum weights`, as options or in files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .sentences import Line


def given_lines(args: argparse.Namespace) -> list[Line]:
    """All sentences that were given.

    Raises:
        ValueError: there is none, one or its target is empty, or their numbers differ.
    """
    texts, wheres = list(args.sentence), _numbered("--sentence", args.sentence)
    targets = list(args.target_sentence)
    _check_texts(texts, wheres, "remove it")
    cure = "give the translation, or omit every --target-sentence"
    _check_texts(targets, _numbered("--target-sentence", targets), cure)
    if targets and len(targets) != len(texts):
        raise ValueError("give as many --target-sentence as --sentence, or none")
    if args.input is not None:
        found = read_lines("--input", args.input)
        if not found:
            raise ValueError(f"--input {args.input} has no sentences")
        texts += found
        places = [f"--input {args.input}, line {n + 1}" for n in range(len(found))]
        wheres += places
        cure = "remove it" if args.target is None else "remove it from both files"
        if args.target is not None:
            translations = read_lines("--target", args.target)
            if len(translations) != len(found):
                raise ValueError(
                    f"--target {args.target} has {len(translations)} lines, and --input "
                    f"{args.input} has {len(found)}"
                )
            targets += translations
            lines = [f"--target {args.target}, line {n + 1}" for n in range(len(found))]
            _check_texts(translations, lines, cure)
        _check_texts(found, places, cure)
    elif args.target is not None:
        raise ValueError("--target belongs to --input; for --sentence give --target-sentence")
    if not texts:
        raise ValueError("no sentences: give --sentence TEXT or --input FILE")
    if targets and len(targets) != len(texts):
        raise ValueError("give a target for every sentence, or for none")
    every = targets or [None] * len(texts)
    return [Line(*line) for line in zip(texts, every, wheres, strict=True)]


def _numbered(option: str, texts: list[str]) -> list[str]:
    """Where each text was given, with its number if there are several."""
    return (
        [f"{option} number {n + 1}" for n in range(len(texts))]
        if texts[1:]
        else [option] * len(texts)
    )


def _check_texts(texts: list[str], wheres: list[str], cure: str) -> None:
    for text, where in zip(texts, wheres, strict=True):
        if not text.strip():
            raise ValueError(f"{where} is empty: {cure}")
        if any("\ud800" <= letter <= "\udfff" for letter in text):  # Python's for undecodable bytes
            raise ValueError(f"{where} is not UTF-8: convert it, for example with iconv")


def read_lines(option: str, file: str | Path) -> list[str]:
    """The lines of a file in UTF-8, or of standard input for `-`.

    Raises:
        ValueError: the file cannot be read; the message begins with the option.
    """
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else Path(file).read_bytes()
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{option} {file} is not UTF-8 ({error}): convert it, for example with iconv"
        ) from error
    except OSError as error:
        raise ValueError(f"{option} {file}: {error}") from error
    # splitlines() would split at U+2028 too
    return text.removesuffix("\n").split("\n") if text else []
