"""What is checked before fairseq-generate runs: its options, and the direction of the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from ..checkpoint_files import languages, read
from .files import UserError

INCOMPLETE = "the translations would be incomplete, or not here; leave it out"
REFUSED = {
    "--quiet": INCOMPLETE,
    "--results-path": INCOMPLETE,
    "--skip-invalid-size-inputs-valid-test": INCOMPLETE,
    "--path": "name the models with --checkpoints",
    "--score-reference": "fairseq-generate would return the references in place of translations; "
    "run it yourself to get the model's scores of them",
}
JOINING = ("--post-process", "--remove-bpe")  # two names of one option, whose value may be left out
SOURCE, TARGET = ("--source-lang", "-s"), ("--target-lang", "-t")


def check_options(options: list[str], post_process: str | None) -> None:
    """Check options for fairseq-generate.

    Args:
        options: the options, as given on the command line.
        post_process: how the data's units are joined to words; None for words.
    """
    for option in map(name_of, options):
        if option in REFUSED:
            raise UserError(f"{option}: {REFUSED[option]}")
        if option in JOINING and (value := value_of(options, option) or "@@ ") != post_process:
            units = f"{post_process} units, which this script joins" if post_process else "words"
            raise UserError(f"{option} {value}: the data consist of {units}; leave the option out")


def direction(
    checkpoints: Sequence[str], data: Mapping[str, str], options: list[str]
) -> tuple[str, str]:
    """The languages from and into which models translate, as their checkpoints record them.

    A data folder serves both directions, and with a joined dictionary any model of either accepts
    any of its texts.

    Args:
        checkpoints: the files of the models.
        data: the record of the data folder, whose direction counts for models that record none.
        options: options for fairseq-generate, which may name the direction, too.

    Raises:
        UserError: the models, the data and the options do not have one direction in common.
    """
    wanted = data["source_lang"], data["target_lang"]
    found = {path: pair for path in checkpoints if (pair := recorded(path)) is not None}
    for path, pair in found.items():
        if sorted(pair) != sorted(wanted):
            raise UserError(
                f"--checkpoints {path} translates {shown(pair)}, and the data are {shown(wanted)}: "
                "give the data that the model was trained with"
            )
    if len(set(found.values())) > 1:
        each = ", ".join(f"{path} {shown(pair)}" for path, pair in found.items())
        raise UserError(f"--checkpoints of models that translate in two directions: {each}")
    pair = next(iter(found.values()), wanted)
    for names, lang in zip((SOURCE, TARGET), pair, strict=True):
        for name in names:
            if (given := value_of(options, name)) not in (None, lang):
                raise UserError(
                    f"{name} {given}: --checkpoints {':'.join(checkpoints)} translates "
                    f"{shown(pair)}; leave the option out"
                )
    return pair


def recorded(path: str) -> tuple[str, str] | None:
    """The languages in a checkpoint; None if it names none. fairseq reports a damaged file."""
    try:
        return languages(read(Path(path), mmap=True))
    except Exception:  # a damaged file can raise anything
        return None


def shown(pair: tuple[str, str]) -> str:
    return f"{pair[0]} to {pair[1]}"


def name_of(option: str) -> str:
    return option.partition("=")[0]


def value_of(options: list[str], name: str) -> str | None:
    """The last value of an option; None if it is not given, or without a value."""
    found = None
    for option, following in pairwise([*options, "--"]):
        if option == name:
            found = None if following.startswith("--") else following
        elif option.startswith(f"{name}="):
            found = option.partition("=")[2]
    return found
