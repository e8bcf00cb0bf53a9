"""Programs of fairseq, called in this process."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import IO, Any

from .program import UserError


def call(program: str, user_dir: str, words: list[str]) -> Any:
    """Run a program of fairseq, `generate` or `eval_lm`, and return what its `main` returns.

    A ValueError, whose message is for the user, becomes a UserError.
    """
    from fairseq import options, utils

    from .. import plugin  # noqa: F401  registers the models

    parsers = {"generate": options.get_generation_parser, "eval_lm": options.get_eval_lm_parser}
    # the parser lists what the module registers
    utils.import_user_module(argparse.Namespace(user_dir=user_dir))
    parser = parsers[program]()
    parser.prog, parser.usage = f"fairseq-{program.replace('_', '-')}", argparse.SUPPRESS
    try:
        return import_module(f"fairseq_cli.{program}").main(
            options.parse_args_and_arch(parser, input_args=words)
        )
    except ValueError as error:
        raise UserError(str(error)) from error


@contextmanager
def messages_in(file: IO[str]) -> Iterator[None]:
    """Write fairseq's messages and warnings to a file."""
    form = "%(asctime)s | %(levelname)s | %(name)s | %(message)s"
    logging.basicConfig(stream=file, format=form, level=logging.INFO, force=True)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.basicConfig(handlers=[logging.NullHandler()], force=True)
