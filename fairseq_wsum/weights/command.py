"""`fairseq-wsum weights`: show what the memory cells of a trained model remember."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..argument_types import positive
from ..files import whole
from .picture import draw
from .sentences import UNKNOWN, Model, Sentence

if TYPE_CHECKING:
    from ..plugin.data.treebank import Sentence as TreebankSentence
    from .vocabulary import Tokens

HELP = "show the weights that the gates of a trained model compute"
MOST_TOKENS = 200  # of a sentence in a picture or a page
MOST_SENTENCES = 200  # in a picture or a page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    help = "a checkpoint of fairseq-train; several for --page and --picture, to compare them"
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help=help)

    group = parser.add_argument_group("sentences (give at least one)")
    add = group.add_argument
    add("--sentence", action="append", default=[], metavar="TEXT", help="may be repeated")
    help = "the translation of the sentence or the question about it, one for each --sentence"
    add("--target-sentence", action="append", default=[], metavar="TEXT", help=help)
    add("--input", metavar="FILE", help="one sentence per line; - reads standard input")
    add("--target", metavar="FILE", help="the translations of --input, line by line")
    help = "the sentences of a treebank in CoNLL-U; --tables then has tags and syntax.tsv, too"
    add("--treebank", type=Path, metavar="FILE", help=help)
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
    add("--tags", metavar="FILE", help=help)
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
    help = "a folder with code of your own, such as a cell"
    add("--user-dir", type=Path, metavar="FOLDER", help=help)
    help = "the model of sentencepiece (default: spm.model in that folder), or subword-nmt's codes"
    add("--bpe-model", type=Path, metavar="FILE", help=help)
    help = "beam size of translations (default 5)"
    add("--beam", type=positive, default=5, metavar="N", help=help)
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")


def run(args: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        ImportError, OSError, RuntimeError, ValueError: an option or a file is wrong, or a package
            is missing.
    """
    results = _results(args)
    logging.basicConfig(level=logging.WARNING)  # before fairseq makes all libraries log everything
    trees = _trees(args)
    lines = _given_lines(args, trees)
    tags = [line.split() for line in _lines_of(args.tags)]
    tags += [tree.column("upos") for tree in trees]
    if (tags or args.tags is not None) and len(tags) != len(lines):
        raise ValueError(f"--tags {args.tags} has {len(tags)} lines for {len(lines)} sentences")
    # fairseq and numpy, which the layer does not need; fairseq takes seconds
    from .arrays import add_arrays
    from .page import write_page
    from .reader import Reader
    from .syntax import Syntax
    from .tables import Tables

    options = ("data", "user_dir", "bpe_model", "beam", "device")
    given = {name: getattr(args, name) for name in options}
    shown = args.picture is not None or args.page is not None
    models = []
    with contextlib.ExitStack() as files:

        def new(path: Path) -> Path:
            return files.enter_context(whole(path))

        for checkpoint, name in zip(args.checkpoints, _names(args.checkpoints), strict=True):
            reader = Reader(checkpoint, **given)
            texts = [reader.encode(*line) for line in lines]
            _warn_of_unknown_words(texts)
            if shown:
                _check_size(texts)
            syntax = Syntax()
            tables = Tables({side: words.counts() for side, words in reader.vocabularies.items()})
            if args.arrays is not None:
                file = zipfile.ZipFile(new(args.arrays), "w", zipfile.ZIP_DEFLATED)
                arrays = files.enter_context(file)
            kept: list[Sentence] = []
            for k, sentence in enumerate(reader.sentences(texts, args.carry_state)):
                if shown:
                    kept.append(sentence)
                if args.arrays is not None:
                    add_arrays(arrays, k, sentence)
                if args.tables is not None:
                    tables.add(sentence, tags[k] if tags else None)
                    if trees:
                        syntax.add(sentence, trees[k].heads, tags[k])
            models.append(Model(name, reader.architecture, reader.cell_names, kept))
        if args.picture is not None:
            where = {"side": args.side, "layer": args.layer, "unit": args.unit}
            draw(new(args.picture), models, **where, join=args.join_subwords)
        if args.page is not None:
            write_page(new(args.page), models)
        if args.tables is not None:  # last: if anything fails, nothing is written
            tables.write(args.tables)
            if trees:
                syntax.write(args.tables / "syntax.tsv")
            else:  # of an earlier run
                (args.tables / "syntax.tsv").unlink(missing_ok=True)
    for result in results:
        print(f"wrote {result}")


def _results(args: argparse.Namespace) -> list[Path]:
    """The files and the folder to write.

    Raises:
        ValueError: there is none, or one exists.
    """
    options = {name: getattr(args, name) for name in ("arrays", "tables", "picture", "page")}
    results = {f"--{name}": path for name, path in options.items() if path is not None}
    if not results:
        raise ValueError("nothing to write: give --picture, --page, --arrays or --tables")
    if len(args.checkpoints) > 1 and not {*results} <= {"--page", "--picture"}:
        raise ValueError("several checkpoints: give --page and --picture only, to compare them")
    for option, path in results.items():
        if path.exists() and path.is_dir() != (option == "--tables"):
            this, other = ("folder", "file") if path.is_dir() else ("file", "folder")
            raise ValueError(f"{option} {path} is a {this}: give the name of a {other}")
        empty = path.is_dir() and not any(path.iterdir())
        if os.path.lexists(path) and not empty and not args.overwrite:  # or a link to nowhere
            raise ValueError(f"{option} {path} exists: give another name, or --overwrite")
    return list(results.values())


def _trees(args: argparse.Namespace) -> list[TreebankSentence]:
    """The sentences of --treebank."""
    if args.treebank is None:
        return []
    if args.sentence or args.input or args.tags:
        raise ValueError("--treebank has sentences and tags: omit --sentence, --input and --tags")
    import fairseq  # noqa: F401  # before the plugin

    from ..plugin.data.treebank import read_treebank

    return [*read_treebank(args.treebank, with_trees=True)]


def _given_lines(
    args: argparse.Namespace, trees: Sequence[TreebankSentence]
) -> list[tuple[str | TreebankSentence, str | None]]:
    """All sentences that were given, with their translations."""
    sentences = [*args.sentence, *_lines_of(args.input), *trees]
    targets = [*args.target_sentence, *_lines_of(args.target)]
    if not sentences:
        raise ValueError("no sentences: give --sentence TEXT, --input FILE or --treebank FILE")
    given = args.target_sentence or args.target is not None
    if given and len(targets) != len(sentences):
        raise ValueError(f"{len(targets)} translations for {len(sentences)} sentences")
    return list(zip(sentences, targets or [None] * len(sentences), strict=True))


def _lines_of(file: str | None) -> list[str]:
    """The lines of a text file, or of standard input for `-`; none without a file."""
    if file is None:
        return []
    named = 0 if file == "-" else file
    # only "\n" ends a line, as for fairseq, so that translations stay beside their sentences
    with open(named, encoding="utf-8-sig", newline="\n", closefd=named != 0) as lines:
        return list(lines)


def _check_size(texts: Sequence[dict[str, Tokens]]) -> None:
    longest = max(len(tokens.indices) for sides in texts for tokens in sides.values())
    if len(texts) > MOST_SENTENCES or longest > MOST_TOKENS:
        raise ValueError(
            f"--picture and --page show at most {MOST_SENTENCES} sentences of {MOST_TOKENS} "
            f"tokens, not {len(texts)} of up to {longest}"
        )


def _warn_of_unknown_words(texts: Sequence[dict[str, Tokens]]) -> None:
    """Warn if the dictionary of a side lacks more than half of the words."""
    for side in texts[0]:
        words = [word for sides in texts for word in sides[side].text.without_boundaries()]
        unknown = sum(word.endswith(UNKNOWN) for word in words)
        if unknown > len(words) / 2:
            print(
                f"warning: the {side}'s dictionary lacks {unknown} of {len(words)} words. Does the "
                "text have the form of the training text? For subwords, give --bpe-model",
                file=sys.stderr,
            )


def _names(checkpoints: Sequence[Path]) -> list[str]:
    """The folders of the checkpoints, or their whole names if they are in folders of one name."""
    folders = [checkpoint.resolve().parent.name for checkpoint in checkpoints]
    return folders if len({*folders}) == len(folders) else [str(path) for path in checkpoints]
