"""Fixes for options that fairseq misinterprets."""

from __future__ import annotations

import functools
import sys
from typing import Any

from fairseq import options
from fairseq.tasks import FairseqTask


def apply() -> None:
    """Apply the shims of this file."""
    _allow_bf16_without_tpu()
    _refuse_batches_of_nothing()


def _allow_bf16_without_tpu() -> None:
    """Make --bf16 work without a TPU: fairseq's --bf16 implies --tpu (options.py)."""
    parse = options.parse_args_and_arch

    @functools.wraps(parse)
    def parse_args_and_arch(parser: Any, input_args: Any = None, *args: Any, **kwargs: Any) -> Any:
        parsed = parse(parser, input_args, *args, **kwargs)
        namespace = parsed[0] if isinstance(parsed, tuple) else parsed
        asked = "--tpu" in (sys.argv if input_args is None else input_args)
        if getattr(namespace, "bf16", False) and not asked:
            namespace.tpu = False
        return parsed

    options.parse_args_and_arch = parse_args_and_arch


def _refuse_batches_of_nothing() -> None:
    """Reject a --batch-size or --max-tokens below 1.

    fairseq treats such a value as no limit. If the other option is not given either, the whole
    corpus becomes one batch (data_utils_fast.pyx).
    """
    get_batch_iterator = FairseqTask.get_batch_iterator

    @functools.wraps(get_batch_iterator)
    def get_limited_iterator(
        self: FairseqTask,
        dataset: Any,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        check_batch_limits(max_tokens, max_sentences)
        return get_batch_iterator(self, dataset, max_tokens, max_sentences, *args, **kwargs)

    FairseqTask.get_batch_iterator = get_limited_iterator


def check_batch_limits(max_tokens: int | None, max_sentences: int | None) -> None:
    """Check the limits of a batch.

    Raises:
        ValueError: a limit is below 1; the message names its option.
    """
    limits = {"--max-tokens": max_tokens, "--batch-size": max_sentences}
    for option, limit in limits.items():
        if limit is not None and limit < 1:
            raise ValueError(
                f"{option} (or {option}-valid) {limit}: give at least 1, or omit the option"
            )
