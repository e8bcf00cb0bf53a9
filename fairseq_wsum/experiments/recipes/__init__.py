"""Recipes: prepare a corpus, train a model on it, and score it.

`examples/*/*.sh` and `fairseq-wsum recipe NAME` call them.

The hyper-parameters of a recipe are in NAME.yaml, and what is special about it in a class.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..program import first_word
from .labelled import Answering, Parsing, Sentiment
from .language_models import AWD, GBW, LastEpoch
from .recipe import Recipe
from .translation import Captions, OpenNMT, Transformer, Translation

RECIPES: dict[str, type[Recipe]] = {
    "opennmt": OpenNMT,
    "strong": Translation,
    "transformer": Transformer,
    "transformer_tiny": Transformer,
    "captions": Captions,
    "ptb": LastEpoch,
    "transformer_lm": LastEpoch,
    "awd": AWD,
    "gbw": GBW,
    "parser": Parsing,
    "squad": Answering,
    "sst": Sentiment,
}


def main(given: Sequence[str]) -> None:
    """Run a recipe with a command line, the first word of which is its name."""
    name = first_word("fairseq-wsum recipe", "NAME", RECIPES, given)
    RECIPES[name](name, given[1:]).main()
