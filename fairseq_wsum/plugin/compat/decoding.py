"""Fixes for fairseq's decoding."""

from __future__ import annotations

import functools
from typing import Any

from fairseq import utils
from fairseq.sequence_generator import SequenceGenerator
from fairseq.tasks import FairseqTask
from torch import Tensor


def apply() -> None:
    """Apply the shims of this file."""
    _restore_unknown_word_replacement()


def _restore_unknown_word_replacement() -> None:
    """Make --replace-unk work, which needs the source position of every target token.

    fairseq's beam search leaves the alignment empty, which causes an IndexError at the first
    unknown word. With --print-alignment the alignment is a list of pairs or of probabilities, which
    causes a TypeError. Without a dictionary the option's value is "@@ ", which is then opened as a
    file and causes a FileNotFoundError.
    """
    build_generator = FairseqTask.build_generator
    generate = SequenceGenerator.generate
    replace_unk = utils.replace_unk
    load_align_dict = utils.load_align_dict

    @functools.wraps(build_generator)
    def build_marked_generator(
        self: FairseqTask, models: Any, args: Any, *rest: Any, **named: Any
    ) -> Any:
        generator = build_generator(self, models, args, *rest, **named)
        generator.replaces_unknown = getattr(args, "replace_unk", None) is not None
        return generator

    @functools.wraps(generate)
    def generate_with_alignment(
        self: SequenceGenerator, models: Any, sample: dict[str, Any], **kwargs: Any
    ) -> list[list[dict[str, Tensor]]]:
        finalized = generate(self, models, sample, **kwargs)
        src_tokens = sample["net_input"].get("src_tokens")
        if getattr(self, "replaces_unknown", False) and src_tokens is not None:
            for tokens, hypotheses in zip(src_tokens, finalized, strict=True):
                is_word = (tokens != self.pad) & (tokens != self.eos)
                for hypothesis in hypotheses:
                    attention = hypothesis["attention"]  # source x target positions
                    if len(attention) == len(tokens) and is_word.any():
                        hypothesis["alignment"] = attention[is_word].argmax(0).cpu()
        return finalized

    @functools.wraps(replace_unk)
    def replace_unk_from_any(
        hypo_str: str, src_str: str, alignment: Any, align_dict: dict[str, str], unk: str
    ) -> str:
        if not src_str or alignment is None or len(alignment) == 0:  # no attention
            return hypo_str
        return replace_unk(hypo_str, src_str, _source_positions(alignment), align_dict, unk)

    @functools.wraps(load_align_dict)
    def load_align_dict_if_given(replace_unk: str | None) -> Any:
        return load_align_dict("" if replace_unk == "@@ " else replace_unk)

    FairseqTask.build_generator = build_marked_generator
    SequenceGenerator.generate = generate_with_alignment
    utils.replace_unk = replace_unk_from_any
    utils.load_align_dict = load_align_dict_if_given


def _source_positions(alignment: Any) -> Any:
    """Map target positions to source positions, from any of the three forms of an alignment."""
    if isinstance(alignment, Tensor):
        return alignment
    if isinstance(alignment[0], tuple):  # hard: (source, target) pairs
        return {target: source for source, target in alignment}
    # soft: probabilities of the source positions; the last is the end-of-sentence token
    return [max(range(len(row) - 1), key=lambda s: float(row[s])) for row in alignment]
