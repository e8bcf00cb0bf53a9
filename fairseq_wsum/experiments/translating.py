"""Translate with fairseq-generate: its options, the direction of the models, and its output."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from ..argument_types import positive
from ..checkpoint_files import languages, read, task_options
from . import fairseq_programs
from .program import PACKAGE, UserError, user_dir
from .text_files import lines_of, open_text


def add_options(parser: argparse.ArgumentParser, batch_size: int) -> None:
    """Add the options that all translations share, except --checkpoints and --lenpen."""
    add = parser.add_argument
    add("--beam", type=positive, default=5, metavar="N", help="beam size (default 5)")
    help = f"sentences per batch (default {batch_size})"
    add("--batch-size", type=positive, default=batch_size, metavar="N", help=help)
    help = "fairseq modules to load, for a cell of your own (default: this plugin)"
    add("--user-dir", type=user_dir, default=str(PACKAGE), metavar="DIR", help=help)


def direction(checkpoints: str, data: Mapping[str, str]) -> tuple[str, str]:
    """The languages from and into which models translate, as their checkpoints record them.

    A data folder serves both directions, and with a joined dictionary any model of either accepts
    any of its texts. The direction in its record, `data`, counts for models that record none.
    """
    found = {pair for options in _tasks(checkpoints) if (pair := languages(options)) is not None}
    if len(found) > 1:
        raise UserError(f"--checkpoints {checkpoints}: the models translate in two directions")
    return found.pop() if found else (data["source_lang"], data["target_lang"])


def limits(checkpoints: str) -> list[str]:
    """Options for the longest sentences that models accept: fairseq-generate needs to be told."""
    tasks, found = [*_tasks(checkpoints)], []
    for name in ("source", "target"):
        given = [n for options in tasks if (n := options.get(f"max_{name}_positions")) is not None]
        found += [f"--max-{name}-positions", str(min(given))] if given else []
    return found


def _tasks(checkpoints: str) -> Iterator[Mapping[str, Any]]:
    """The options of the models' tasks."""
    for path in checkpoints.split(":"):
        with suppress(Exception):  # a damaged file can raise anything; fairseq reports it
            yield task_options(read(Path(path), mmap=True))


def generate(
    args: argparse.Namespace,
    prepared: Mapping[str, Any],
    checkpoints: str,
    options: list[str],
    printed: Path,
    log: Path,
) -> None:
    """Run fairseq-generate.

    Args:
        args: `data`, and what `add_options` has added.
        prepared: the record of the data, with the direction of the models.
        checkpoints: the files of the models, separated by ':'.
        options: other options of fairseq-generate; those that this program needs come after them.
        printed: the file that gets the translations.
        log: the file that gets its messages, after those that it has.
    """
    options = [*options, "--path", checkpoints]
    words = ["--batch-size", str(args.batch_size), "--beam", str(args.beam)]
    words += ["--source-lang", prepared["source_lang"], "--target-lang", prepared["target_lang"]]
    # fairseq's default multiple would drop the last sentences
    words += ["--required-batch-size-multiple", "1", "--user-dir", args.user_dir]
    words += ["--log-format", "simple", "--log-interval", "10"]
    words += ["--distributed-world-size", "1"]  # else every GPU of the machine gets a part
    if prepared["units"] == "bpe":
        words += ["--post-process", "sentencepiece"]
    try:
        with (
            open_text(printed, "w") as output,
            open_text(log, "a") as messages,
            fairseq_programs.messages_in(messages),
            redirect_stdout(output),
        ):
            fairseq_programs.call("generate", args.user_dir, [str(args.data), *options, *words])
    except Exception as error:
        if found := re.search(r"Size of sample #\d+ is invalid .*(?=, skip this ex)", str(error)):
            more = "{'max_source_positions': N, 'max_target_positions': N}"
            raise UserError(
                f"the text has a sentence longer than the model accepts ({found[0]}). An LSTM has "
                "no limit itself: raise that of the model with --max-source-positions N "
                f'--max-target-positions N --model-overrides "{more}"'
            ) from error
        raise


def read_generated(printed: Path, tag: str, expected: int) -> list[str]:
    """The last column of the lines `TAG-number<TAB>...`, in the order of the text.

    The tag is H for hypotheses, of which the first counts for each number, or A for alignments.
    """
    found: dict[int, str] = {}
    for line in lines_of(printed):
        if match := re.match(rf"{tag}-(\d+)\t", line):
            found.setdefault(int(match[1]), line.rpartition("\t")[2])
    if sorted(found) != list(range(expected)):
        raise UserError(
            f"fairseq-generate gave translations of {len(found)} of {expected} sentences: leave "
            "out options such as --quiet, --results-path or --distributed-rank"
        )
    return [found[i] for i in range(expected)]
