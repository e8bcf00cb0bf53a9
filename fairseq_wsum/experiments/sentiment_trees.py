"""Trees with the sentiment of each phrase, as in the Stanford Sentiment Treebank.

A line is a tree, such as `(1 (2 not) (3 good))`: a label from 0, very negative, to 4, very
positive, and a word or further trees (Socher et al., 2013).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .corpora import check_line, read_lines
from .files import UserError

NEUTRAL = 2
NEGATORS = {"not", "n't", "cannot", "no", "never", "nothing", "none", "nobody", "nowhere"}
NEGATORS |= {"neither", "nor", "without", "hardly", "barely", "scarcely", "rarely", "seldom"}
BRACKETS = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}"}
QUOTES = {"``": '"', "''": '"', "`": "'"}
PARTS = re.compile(r"[()]|[^()]+")


@dataclass(frozen=True)
class Tree:
    """A phrase.

    Attributes:
        label: its sentiment, 0 to 4.
        words: its words, in the form of `plain`.
        children: its parts; none for a single word.
    """

    label: int
    words: tuple[str, ...]
    children: tuple[Tree, ...] = ()

    def phrases(self) -> Iterator[Tree]:
        """This phrase and all phrases within it."""
        waiting = [self]
        while waiting:
            yield (tree := waiting.pop())
            waiting += reversed(tree.children)

    @property
    def side(self) -> int:
        """-1 for a negative phrase, 0 for a neutral and 1 for a positive one."""
        return (self.label > NEUTRAL) - (self.label < NEUTRAL)


@dataclass(frozen=True)
class Negation:
    """A negator and the phrase to which it belongs.

    Attributes:
        negator: the index of the negator in the sentence.
        end: the index after the phrase, which begins after the negator.
        phrase, whole: the phrase without and with the negator.
        turns: whether the two lie on different sides of neutral.
    """

    negator: int
    end: int
    phrase: Tree
    whole: Tree

    @property
    def turns(self) -> bool:
        return self.phrase.side * self.whole.side < 0


def negations(tree: Tree) -> list[Negation]:
    """The negators of a sentence: alone, or as in "does n't", before the phrase beside them."""
    found, waiting = [], [(tree, 0)]
    while waiting:
        whole, start = waiting.pop()
        if len(whole.children) == 2:
            left, right = whole.children
            size = len(left.words)
            if size <= 2 and left.words[-1] in NEGATORS:
                found.append(Negation(start + size - 1, start + len(whole.words), right, whole))
        for child in whole.children:
            waiting.append((child, start))
            start += len(child.words)
    return sorted(found, key=lambda one: one.negator)


def is_negated(tree: Tree) -> bool:
    """Whether a negator turns the sign of a phrase somewhere in a sentence."""
    return any(one.turns for one in negations(tree))


def plain(word: str) -> str:
    r"""A word of the corpus in lower case, without the escapes of the Penn Treebank.

    `-LRB-` becomes a bracket, `\/` a slash, two backquotes or apostrophes a quotation mark, and a
    space within a word, as in "2 1/2", a hyphen.
    """
    word = re.sub(r"\s+", "-", word.strip().lower().replace("\\/", "/").replace("\\*", "*"))
    return QUOTES.get(word) or BRACKETS.get(word) or word


def read_trees(path: Path) -> list[Tree]:
    """The trees of a file, or of its .gz.

    Raises:
        UserError: a line is no tree, or there is none.
    """
    trees = []
    for number, line in enumerate(read_lines(path, hashlib.sha256()), start=1):
        if line.strip(" \t\r\n"):
            try:
                trees.append(parse(line.strip(" \t\r\n")))
            except ValueError as error:
                raise UserError(
                    f"{path}, line {number}: {error}; give a tree, such as (1 (2 not) (3 good))"
                ) from None
            check_line(path, number, trees[-1].words)
    if not trees:
        raise UserError(f"{path} has no trees; give one a line, such as (1 (2 not) (3 good))")
    return trees


def parse(text: str) -> Tree:
    """The tree of a line.

    Raises:
        ValueError: it is none; the message says why.
    """
    top: list[Tree] = []
    open_: list[tuple[int, list[Tree], list[str]]] = []  # label, children and word of each phrase
    parts = iter(PARTS.findall(text))
    for part in parts:
        if part == "(":
            label, _, rest = next(parts, "").partition(" ")
            if label not in ("0", "1", "2", "3", "4"):
                raise ValueError(f"a label is {label!r}, not one of 0 to 4")
            open_.append((int(label), [], [rest] if rest.strip() else []))
        elif part == ")":
            if not open_:
                raise ValueError("a bracket closes that none opens")
            number, children, words = open_.pop()
            if bool(children) == bool(words):
                raise ValueError("a phrase has not either a word or further phrases")
            leaves = tuple(map(plain, words)) or tuple(w for one in children for w in one.words)
            (open_[-1][1] if open_ else top).append(Tree(number, leaves, tuple(children)))
        elif part.strip():
            raise ValueError(f"{part.strip()!r} has no label")
    if open_ or len(top) != 1:
        raise ValueError("brackets are not balanced" if open_ else f"it has {len(top)} trees")
    return top[0]
