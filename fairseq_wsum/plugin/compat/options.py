"""Fixes for options that fairseq misinterprets."""

from __future__ import annotations

import functools
import sys
from typing import Any

from fairseq import options
from fairseq.models import BaseFairseqModel
from fairseq.tasks.translation import TranslationTask


def apply() -> None:
    """Apply the shims of this file."""
    _allow_bf16_without_tpu()
    _decode_in_bf16()
    _need_both_languages()


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


def _decode_in_bf16() -> None:
    """Make --bf16 an option of fairseq-generate, -interactive and -eval-lm, as --fp16 is."""
    prepare = BaseFairseqModel.prepare_for_inference_

    @functools.wraps(prepare)
    def prepare_in_bf16(self: BaseFairseqModel, cfg: Any) -> None:
        path = getattr(getattr(cfg, "common_eval", None), "path", None)
        # without a path it is the configuration of the training, as in `from_pretrained`
        if path and cfg.common.bf16:
            self.bfloat16()
        prepare(self, cfg)

    BaseFairseqModel.prepare_for_inference_ = prepare_in_bf16


def _need_both_languages() -> None:
    """Refuse one of --source-lang and --target-lang alone, which fairseq ignores."""
    setup = TranslationTask.setup_task.__func__

    def setup_task(cls: type[TranslationTask], cfg: Any, **kwargs: Any) -> Any:
        if (cfg.source_lang is None) != (cfg.target_lang is None):
            raise ValueError("give both --source-lang and --target-lang, or none")
        return setup(cls, cfg, **kwargs)

    TranslationTask.setup_task = classmethod(setup_task)
