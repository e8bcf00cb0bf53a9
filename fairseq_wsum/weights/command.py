"""`fairseq-wsum weights`: show what the memory cells of a trained model remember."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..argument_types import positive
from ..files import whole_at_end
from .given_text import given_lines, read_lines
from .sentences import UNKNOWN, Line, Model, Sentence
from .tables import check_tags

if TYPE_CHECKING:
    from .models import Reader
    from .vocabulary import EncodedLine

HELP = "show the weights that the gates of a trained model compute"
MOST_TOKENS = 200  # of a sentence in a picture or a page
MOST_SENTENCES = 200  # in a picture or a page
MOST_NORMS = 20_000  # tokens of a sentence whose T x T norms --arrays writes, 1.6 GB for a layer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    help = "a checkpoint of fairseq-train; two for --page, to compare them"
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help=help)

    group = parser.add_argument_group("sentences (give at least one)")
    add = group.add_argument
    add("--sentence", action="append", default=[], metavar="TEXT", help="may be repeated")
    help = "the translation of the sentence, one for each --sentence"
    add("--target-sentence", action="append", default=[], metavar="TEXT", help=help)
    add("--input", metavar="FILE", help="one sentence per line; - reads standard input")
    add("--target", type=Path, metavar="FILE", help="the translations of --input, line by line")
    group.description = (
        "Give the text in the form of the training text, for example lower-cased and tokenised. "
        "Without a target, a translation model translates the sentence itself."
    )
    add(
        "--carry-state",
        action="store_true",
        help="begin each sentence with the state after the one before (language models only)",
    )

    group = parser.add_argument_group("results (give at least one)")
    add = group.add_argument
    add("--picture", type=Path, metavar="FILE", help=".png, .svg or .pdf")
    add("--page", type=Path, metavar="FILE", help="a page to explore in a browser, .html")
    add("--arrays", type=Path, metavar="FILE", help="all numbers for NumPy, .npz")
    add("--tables", type=Path, metavar="FOLDER", help="tables over all sentences")
    help = "parts of speech, for --tables: a line per sentence, with a tag for each of its words"
    add("--tags", type=Path, metavar="FILE", help=help)
    add("--overwrite", action="store_true", help="replace files that exist")

    group = parser.add_argument_group("options for --picture")
    add = group.add_argument
    add("--side", choices=("encoder", "decoder"), help="draw this side (default: the first)")
    add("--layer", type=int, metavar="N", help="draw this layer (default: the first)")
    add("--unit", type=int, metavar="N", help="draw one hidden unit instead of the norm over all")
    add("--join-subwords", action="store_true", help="draw words, not subwords")

    group = parser.add_argument_group("model")
    add = group.add_argument
    help = "the folder with its dictionaries (default: the data of its training)"
    add("--data", type=Path, metavar="FOLDER", help=help)
    for side in ("source", "target"):
        help = f"the {side} language, if the folder has no data that names it"
        add(f"--{side}-lang", metavar="LANG", help=help)
    help = "a folder with code of your own, such as a cell"
    add("--user-dir", type=Path, metavar="FOLDER", help=help)
    help = "segment the text (default: sentencepiece, if the data folder has spm.model)"
    add("--bpe", choices=("sentencepiece", "subword_nmt"), help=help)
    help = "the model of sentencepiece, or the codes of subword_nmt"
    add("--bpe-model", type=Path, metavar="FILE", help=help)
    add("--beam", type=positive, metavar="N", help="beam size of translations (default 5)")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")


def run(args: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        OSError, RuntimeError, ValueError: an option or a file is wrong; the message names it.
    """
    _check_outputs(args)
    lines = given_lines(args)
    tags = None if args.tags is None else read_lines("--tags", args.tags)
    _check_number(args, lines, tags)
    logging.basicConfig(level=logging.WARNING)  # before fairseq makes all libraries log everything
    try:
        from .models import Reader  # imports fairseq, which takes seconds
    except ImportError as error:
        raise RuntimeError(f"a checkpoint needs fairseq, and {error}") from error
    readers = [
        Reader(
            path,
            data=args.data,
            source_lang=args.source_lang,
            target_lang=args.target_lang,
            user_dir=args.user_dir,
            bpe=args.bpe,
            bpe_model=args.bpe_model,
            beam=args.beam,
            device=args.device,
        )
        for path in args.checkpoints
    ]
    if args.beam is not None and not any(reader.translates(lines) for reader in readers):
        raise ValueError(
            "--beam is for translations that the model makes itself, and here it makes none: omit "
            "--beam"
        )
    texts = [[reader.encode(line) for line in lines] for reader in readers]
    for reader, encoded in zip(readers, texts, strict=True):
        _check_lengths(args, encoded)
        _check_tags(encoded, tags)
        _warn_of_unknown_words(reader, encoded)
    _write(args, readers, texts, tags)


def _write(
    args: argparse.Namespace,
    readers: list[Reader],
    texts: list[list[EncodedLine]],
    tags: list[str] | None,
) -> None:
    from .arrays import Arrays
    from .page import write_page
    from .picture import draw, find_view, square
    from .tables import Tables

    keep = args.picture is not None or args.page is not None
    models = []
    with contextlib.ExitStack() as files:
        arrays = None
        for reader, lines, name in zip(readers, texts, _names(args.checkpoints), strict=True):
            word_counts = reader.vocabulary.word_counts
            tables = None if args.tables is None else Tables(word_counts)
            kept: list[Sentence] = []
            for k, sentence in enumerate(reader.sentences(lines, args.carry_state)):
                if args.picture is not None and k == 0:  # a wrong choice is known at once
                    square(find_view(sentence, args.side, args.layer), args.unit)
                if args.arrays is not None and k == 0:
                    written = files.enter_context(whole_at_end(args.arrays))
                    arrays = files.enter_context(Arrays(written))
                if keep:
                    kept.append(sentence)
                if arrays is not None:
                    arrays.add(sentence)
                if tables is not None:
                    tables.add(sentence, None if tags is None else tags[k].split())
            models.append(Model(name, reader.architecture, reader.cell_names, kept))
        if args.picture is not None:
            path, join = files.enter_context(whole_at_end(args.picture)), args.join_subwords
            draw(path, models[0], side=args.side, layer=args.layer, unit=args.unit, join=join)
        if args.page is not None:
            write_page(files.enter_context(whole_at_end(args.page)), models)
        if tables is not None:  # last: if anything fails, nothing is written
            tables.write(args.tables)
    for path in (args.arrays, args.tables, args.picture, args.page):
        if path is not None:
            print(f"wrote {path}")


def _names(checkpoints: list[Path]) -> list[str]:
    """A name for each checkpoint: its folder, with as many folders above as make them differ.

    Checkpoints of one folder have the names of the files.
    """
    # names that are not UTF-8 cannot be written to a picture or a page
    paths = [Path(os.fsencode(p.resolve()).decode(errors="replace")) for p in checkpoints]
    folders = [path.parent.parts for path in paths]
    if len(set(folders)) < len(paths):
        return [path.stem for path in paths]
    depth = 1
    while len({parts[-depth:] for parts in folders}) < len(paths):
        depth += 1
    return ["/".join(parts[-depth:]) for parts in folders]


# Checks of the sentences


def _check_number(args: argparse.Namespace, lines: list[Line], tags: list[str] | None) -> None:
    if tags is not None and args.tables is None:
        raise ValueError("--tags is for --tables FOLDER, which is missing")
    if tags is not None and len(tags) != len(lines):
        raise ValueError(f"--tags {args.tags} has {len(tags)} lines for {len(lines)} sentences")
    for option, path in (("--picture", args.picture), ("--page", args.page)):
        if path is not None and len(lines) > MOST_SENTENCES:
            raise ValueError(
                f"{option} shows at most {MOST_SENTENCES} sentences, and {len(lines)} were given: "
                f"give fewer, or only --tables and --arrays"
            )


def _check_lengths(args: argparse.Namespace, lines: list[EncodedLine]) -> None:
    shown = args.picture is not None or args.page is not None
    for line, sides in lines:
        for side, tokens in sides.items():
            length, where = len(tokens.indices), _text_of(line, side)
            if shown and length > MOST_TOKENS:
                raise ValueError(
                    f"{where} has {length} tokens, and --picture and --page show at most "
                    f"{MOST_TOKENS}: split it, or give only --tables and --arrays"
                )
            if args.arrays is not None and length > MOST_NORMS:
                raise ValueError(
                    f"{where} has {length} tokens, and --arrays, which writes the norm of every "
                    f"pair of them, takes at most {MOST_NORMS}: split it, or give only --tables"
                )


def _text_of(line: Line, side: str) -> str:
    """How a message names what a side reads."""
    is_target = side == "decoder" and line.target is not None
    return f"the translation of {line.where}" if is_target else line.where


def _check_tags(lines: list[EncodedLine], tags: list[str] | None) -> None:
    """Check the numbers of tags before any sentence runs."""
    for number, ((_, sides), given) in enumerate(zip(lines, tags or [], strict=False), start=1):
        first = next(iter(sides.values()))
        check_tags(number, first.words, given.split())


def _warn_of_unknown_words(reader: Reader, lines: list[EncodedLine]) -> None:
    """Warn of texts of which the dictionary lacks more than half, or without their subwords any."""
    strange = []
    for line, sides in lines:
        for side, tokens in sides.items():
            words = tokens.words
            unknown = sum(word.endswith(UNKNOWN) for word in words)
            needs_segmentation = side in reader.vocabulary.needs_segmentation
            if unknown > (0 if needs_segmentation else len(words) / 2):
                strange.append((_text_of(line, side), unknown, len(words), needs_segmentation))
    if not strange:
        return
    where, unknown, number, needs_segmentation = strange[0]
    others = f" ({len(strange) - 1} more have as few known words)" if strange[1:] else ""
    cure = (
        "It has subwords: give --bpe and --bpe-model, or text in subwords"
        if needs_segmentation
        else "Does the text have the form of the training text?"
    )
    print(
        f"warning: {where}: the dictionary lacks {unknown} of its {number} words{others}. {cure}",
        file=sys.stderr,
    )


# The results


def _check_outputs(args: argparse.Namespace) -> None:
    """Check that all results can be made and written, before any work.

    Raises:
        ValueError: no result was asked for, one cannot be written, or there is no GPU.
    """
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no GPU here")
    files = {"--picture": args.picture, "--page": args.page, "--arrays": args.arrays}
    results = [path.absolute() for path in (*files.values(), args.tables) if path is not None]
    if len(set(results)) < len(results):
        raise ValueError("two results have the same name: give each its own")
    if args.tables is None and not any(files.values()):
        raise ValueError("nothing to write: give --picture, --page, --arrays or --tables")
    if args.picture is None:
        for name in ("side", "layer", "unit", "join_subwords"):
            if getattr(args, name) is not None and getattr(args, name) is not False:  # 0 is a unit
                option = "--" + name.replace("_", "-")
                raise ValueError(f"{option} is for --picture: give --picture FILE, or omit it")
    if len(args.checkpoints) > 2 or (len(args.checkpoints) == 2 and args.page is None):
        raise ValueError("give one checkpoint, or two to compare them with --page")
    if len(args.checkpoints) == 2 and (args.picture or args.arrays or args.tables):
        raise ValueError("--picture, --arrays and --tables are for one checkpoint")
    suffixes = {"--picture": (".png", ".svg", ".pdf"), "--page": (".html",), "--arrays": (".npz",)}
    for option, path in files.items():
        if path is None:
            continue
        if path.suffix.lower() not in suffixes[option]:
            raise ValueError(f"{option} {path}: the name must end with {_any(suffixes[option])}")
        if path.is_dir():
            raise ValueError(f"{option} {path} is a folder: give the name of a file")
        if os.path.lexists(path) and not args.overwrite:  # also a link that leads nowhere
            raise ValueError(f"{option} {path} exists: give another name, or --overwrite")
        _check_folder(option, path.parent)
    if args.picture is not None and importlib.util.find_spec("matplotlib") is None:
        raise ValueError("--picture needs matplotlib: pip install matplotlib")
    if args.tables is not None:
        if args.tables.exists() and not args.tables.is_dir():
            raise ValueError(f"--tables {args.tables} is a file: give a folder")
        if args.tables.exists() and any(args.tables.iterdir()) and not args.overwrite:
            raise ValueError(f"--tables {args.tables} is not empty: give another, or --overwrite")
        _check_folder("--tables", args.tables)


def _any(names: tuple[str, ...]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _check_folder(option: str, folder: Path) -> None:
    """Check that files can be written to the folder, or that it can be made."""
    problem: object = None
    try:
        above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not above.is_dir():
            problem = f"{above} is a file"
        elif not os.access(above, os.W_OK | os.X_OK):
            problem = f"{above} is read-only for you"
    except OSError as error:
        problem = error
    if problem is not None:
        raise ValueError(f"{option}: cannot write to the folder {folder}: {problem}")
