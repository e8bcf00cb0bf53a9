"""Faster decoding with fairseq's programs."""

from . import beam_search, precision


def apply() -> None:
    """Apply what this package changes in fairseq."""
    beam_search.apply()
    precision.apply()
