"""Fixes for two of fairseq's ways to search for a translation."""

from __future__ import annotations

import functools
from typing import Any

from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.search import DiverseBeamSearch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor


def apply() -> None:
    """Apply the shims of this file."""
    _block_ngrams()
    _diversify_by_row()


def _block_ngrams() -> None:
    """Make --no-repeat-ngram-size work without fairseq's CUDA extension.

    fairseq compares n-grams with the end of a buffer, which is padding (ngram_repeat_block.py).
    """
    block = NGramRepeatBlock._no_repeat_ngram

    @functools.wraps(block)
    def block_repeated(
        self: NGramRepeatBlock, tokens: Tensor, lprobs: Tensor, bsz: int, beam_size: int, step: int
    ) -> Tensor:
        return block(self, tokens[:, : step + 1], lprobs, bsz, beam_size, step)

    NGramRepeatBlock._no_repeat_ngram = block_repeated


def _diversify_by_row() -> None:
    """Make --diverse-beam-groups independent of the other sentences of a batch.

    fairseq counts the words that groups share by the number of a sentence in the data, but keeps
    the counts by its row in the batch (search.py). Without numbers it takes the rows.
    """
    generate = SequenceGenerator._generate

    @functools.wraps(generate)
    def generate_by_row(
        self: SequenceGenerator, sample: dict[str, Any], *args: Any, **named: Any
    ) -> Any:
        if isinstance(self.search, DiverseBeamSearch):
            sample = {name: part for name, part in sample.items() if name != "id"}
        return generate(self, sample, *args, **named)

    SequenceGenerator._generate = generate_by_row
