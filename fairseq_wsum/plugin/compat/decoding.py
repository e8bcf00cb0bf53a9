"""What is wrong in fairseq's decoding."""

from __future__ import annotations

import functools
from typing import Any

from fairseq import utils
from fairseq.search import DiverseBeamSearch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor


def apply() -> None:
    """Apply the shims of this file."""
    _restore_unknown_word_replacement()
    _count_overlaps_within_a_batch()


def _restore_unknown_word_replacement() -> None:
    """--replace-unk wants the source position of every target token, and gets something else.

    fairseq's beam search leaves the alignment empty (an IndexError at the first unknown word);
    with --print-alignment it is a list of pairs or of probabilities (a TypeError). And without a
    dictionary its argument is "@@ ", which is then opened as a file (a FileNotFoundError).
    """
    generate = SequenceGenerator.generate
    replace_unk = utils.replace_unk
    load_align_dict = utils.load_align_dict
    wanted = False  # both programs load the dictionary before they translate

    @functools.wraps(generate)
    def generate_with_alignment(
        self: SequenceGenerator, models: Any, sample: dict[str, Any], **kwargs: Any
    ) -> list[list[dict[str, Tensor]]]:
        finalized = generate(self, models, sample, **kwargs)
        src_tokens = sample["net_input"].get("src_tokens")
        if wanted and src_tokens is not None:
            for tokens, hypotheses in zip(src_tokens, finalized, strict=True):
                real = (tokens != self.pad) & (tokens != self.eos)
                for hypothesis in hypotheses:
                    attention = hypothesis["attention"]  # source x target positions
                    if len(attention) == len(tokens) and real.any():
                        hypothesis["alignment"] = attention[real].argmax(0).cpu()
        return finalized

    @functools.wraps(replace_unk)
    def replace_unk_from_any(
        hypo_str: str, src_str: str, alignment: Any, align_dict: dict[str, str], unk: str
    ) -> str:
        if alignment is None or len(alignment) == 0:  # no attention, or nothing to attend to
            return hypo_str
        return replace_unk(hypo_str, src_str, _source_positions(alignment), align_dict, unk)

    @functools.wraps(load_align_dict)
    def load_align_dict_if_given(replace_unk: str | None) -> dict[str, str] | None:
        nonlocal wanted
        wanted = replace_unk is not None
        return load_align_dict("" if replace_unk == "@@ " else replace_unk)

    SequenceGenerator.generate = generate_with_alignment
    utils.replace_unk = replace_unk_from_any
    utils.load_align_dict = load_align_dict_if_given


def _count_overlaps_within_a_batch() -> None:
    """--diverse-beam-groups counts overlaps in a tensor with a row for each sentence of a batch.

    It takes the row by the sentence's number in the data (search.py), an IndexError where that is
    not below the size of the batch. Without the number fairseq takes the place in the batch.
    """
    generate = SequenceGenerator._generate

    @functools.wraps(generate)
    def generate_with_places(
        self: SequenceGenerator, sample: dict[str, Any], *args: Any, **kwargs: Any
    ) -> list[list[dict[str, Tensor]]]:
        if isinstance(self.search, DiverseBeamSearch):
            sample = {name: value for name, value in sample.items() if name != "id"}
        return generate(self, sample, *args, **kwargs)

    SequenceGenerator._generate = generate_with_places


def _source_positions(alignment: Any) -> Any:
    """Target position -> source position, from any of the three forms of an alignment."""
    if isinstance(alignment, Tensor):
        return alignment
    if isinstance(alignment[0], tuple):  # hard: (source, target) pairs
        return {target: source for source, target in alignment}
    # soft: probabilities of the source positions, the end of the sentence last
    return [max(range(len(row[:-1]) or 1), key=lambda s: float(row[s])) for row in alignment]
