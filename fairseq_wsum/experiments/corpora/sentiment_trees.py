"""Trees with the sentiment of each phrase, as in the Stanford Sentiment Treebank.

A line is a tree, such as `(1 (2 not) (3 good))`: a label from 0, very negative, to 4, very
positive, and a word or further trees (Socher et al., 2013).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..program import UserError
from .reading import check_line, read_lines

NEGATORS = {"not", "n't", "cannot", "no", "never", "nothing", "none", "nobody", "nowhere"}
NEGATORS |= {"neither", "nor", "without", "hardly", "barely", "scarcely", "rarely", "seldom"}
ESCAPES = {"``": '"', "''": '"', "`": "'", "-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]"}


@dataclass(frozen=True)
class Tree:
    """A phrase: its label from 0 to 4, its words in the form of `plain`, and its parts."""

    label: int
    words: tuple[str, ...]
    children: tuple[Tree, ...] = ()

    def phrases(self) -> Iterator[Tree]:
        """This phrase and all phrases within it."""
        yield self
        for child in self.children:
            yield from child.phrases()

    @property
    def side(self) -> int:
        """-1 for a negative phrase, 0 for a neutral and 1 for a positive one."""
        return (self.label > 2) - (self.label < 2)


@dataclass(frozen=True)
class Negation:
    """A negator and the phrase that follows it."""

    negator: int  # its index
    end: int  # the index after the phrase
    side: int  # of the phrase alone
    turns: bool  # whether the phrase with its negator is on the other side of neutral


def negations(tree: Tree, start: int = 0) -> Iterator[Negation]:
    """The negators of a sentence: alone, or as in "does n't", before the phrase beside them."""
    if len(tree.children) == 2:
        left, right = tree.children
        n, end = start + len(left.words) - 1, start + len(tree.words)
        if len(left.words) <= 2 and left.words[-1] in NEGATORS:
            yield Negation(n, end, right.side, right.side * tree.side < 0)
    for child in tree.children:
        yield from negations(child, start)
        start += len(child.words)


def plain(word: str) -> str:
    r"""A word of the corpus in lower case, without the escapes of the Penn Treebank.

    `-LRB-` becomes a bracket, `\/` a slash, two backquotes or apostrophes a quotation mark, and a
    space within a word, as in "2 1/2", a hyphen.
    """
    word = re.sub(r"\s+", "-", re.sub(r"\\([/*])", r"\1", word.strip().lower()))
    return ESCAPES.get(word, word)


def read_trees(path: Path) -> list[Tree]:
    """The trees of a file, or of its .gz.

    Raises:
        UserError: a line is no tree, or there is none.
    """
    trees = []
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip(" \t\r\n"):
            try:
                trees.append(parse(line.strip(" \t\r\n")))
            except ValueError as error:
                raise UserError(
                    f"{path}, line {number}: {error}; give a tree, such as (1 (2 not) (3 good))"
                ) from None
            check_line(path, number, trees[-1].words)
    if not trees:
        raise UserError(f"{path} is empty; give a tree on each line, such as (1 (2 not) (3 good))")
    return trees


def parse(text: str) -> Tree:
    """The tree of a line.

    Raises:
        ValueError: it is none; the message says why.
    """
    tree, rest = _phrase(text)
    if rest:
        raise ValueError(f"{rest!r} follows the tree")
    return tree


def _phrase(text: str) -> tuple[Tree, str]:
    """The first phrase of a text, and the rest of the text."""
    begin = re.match(r"\(([0-4]) +(?:([^() ]+) *\) *|(?=\())", text)
    if begin is None:
        raise ValueError(f"there is no label from 0 to 4 with a word or phrases at {text[:20]!r}")
    label, word, rest = int(begin[1]), begin[2], text[begin.end() :]
    if word:
        return Tree(label, (plain(word),)), rest
    children = []
    while rest.startswith("("):
        child, rest = _phrase(rest)
        children.append(child)
    if not rest.startswith(")"):
        raise ValueError("brackets are not balanced")
    words = tuple(word for child in children for word in child.words)
    return Tree(label, words, tuple(children)), rest[1:].lstrip(" ")
