"""Fixes for options that fairseq misinterprets."""

from __future__ import annotations

import functools
import logging
import sys
from typing import Any

from fairseq import options
from fairseq.models import ARCH_MODEL_REGISTRY, FairseqMultiModel
from fairseq.tasks import FairseqTask
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.tasks.multilingual_translation import MultilingualTranslationTask
from fairseq.tasks.translation import TranslationTask

logger = logging.getLogger(__name__)


def apply() -> None:
    """Apply the shims of this file."""
    _allow_bf16_without_tpu()
    _refuse_batches_of_nothing()
    _refuse_samples_of_nothing()
    _name_models_of_one_language_pair()
    _warn_of_bleu_of_subwords()


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


def _refuse_samples_of_nothing() -> None:
    """Reject a --tokens-per-sample below 1, which fairseq divides by (ZeroDivisionError).

    fairseq-eval-lm subtracts --context-window from it.
    """
    setup_task = LanguageModelingTask.setup_task.__func__

    @functools.wraps(setup_task)
    def setup_with_tokens(cls: type[LanguageModelingTask], args: Any, **kwargs: Any) -> Any:
        if args.tokens_per_sample < 1:
            raise ValueError(
                f"--tokens-per-sample {args.tokens_per_sample}: give at least 1, and a smaller "
                "--context-window, which fairseq subtracts from it"
            )
        return setup_task(cls, args, **kwargs)

    LanguageModelingTask.setup_task = classmethod(setup_with_tokens)


def _name_models_of_one_language_pair() -> None:
    """Name a model that --task multilingual_translation cannot train.

    fairseq does so, too, but for a model with a dataclass that lacks an option of the task it stops
    before (ConfigAttributeError: Key 'left_pad_source' not in 'WsumLSTMConfig').
    """
    build_model = MultilingualTranslationTask.build_model

    @functools.wraps(build_model)
    def build_multi_model(
        self: MultilingualTranslationTask, args: Any, *rest: Any, **named: Any
    ) -> Any:
        name = getattr(args, "_name", None) or args.arch
        if not issubclass(ARCH_MODEL_REGISTRY[name], FairseqMultiModel):
            raise ValueError(
                f"--arch {name}: this task trains an encoder and a decoder for each language, as "
                "multilingual_transformer has them; one model for all languages is trained by "
                "--task translation_multi_simple_epoch"
            )
        return build_model(self, args, *rest, **named)

    MultilingualTranslationTask.build_model = build_multi_model


def _warn_of_bleu_of_subwords() -> None:
    """Warn if --eval-bleu would count subwords, as fairseq joins none by itself."""
    build_model = TranslationTask.build_model

    @functools.wraps(build_model)
    def build_and_warn(self: TranslationTask, cfg: Any, *rest: Any, **named: Any) -> Any:
        model = build_model(self, cfg, *rest, **named)
        if self.cfg.eval_bleu and not self.cfg.eval_bleu_remove_bpe:
            words = self.target_dictionary.symbols
            pieces = any(word.startswith("\u2581") for word in words)
            if pieces or any(word.endswith("@@") for word in words):
                units = "sentencepiece" if pieces else "subword_nmt"
                logger.warning(
                    "--eval-bleu computes the BLEU of subwords: add --eval-bleu-remove-bpe %s",
                    units,
                )
        return model

    TranslationTask.build_model = build_and_warn


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
