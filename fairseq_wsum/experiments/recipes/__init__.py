"""Recipes: prepare a corpus, train a model on it, and score it.

`examples/*/*.sh` call them, and so does `python -m fairseq_wsum.experiments.recipes NAME`.

The hyper-parameters of a recipe are in NAME.yaml, and what is special about it in a class.
"""

from __future__ import annotations

import sys

from ..files import run
from ..recipe import Recipe
from .language_models import AWD, GBW, PTB
from .translation import Captions, OpenNMT, Transformer, Translation

KINDS: dict[str, type[Recipe]] = {
    "opennmt": OpenNMT,
    "strong": Translation,
    "transformer": Transformer,
    "captions": Captions,
    "ptb": PTB,
    "awd": AWD,
    "gbw": GBW,
}


def main() -> None:
    """Run a recipe: its name and its options are the command line of this process."""
    name, *given = sys.argv[1:] or [""]
    if name not in KINDS:
        sys.exit(f"usage: recipes NAME [options]; NAME is one of {', '.join(KINDS)}")
    run(lambda: KINDS[name](name).main(given))
