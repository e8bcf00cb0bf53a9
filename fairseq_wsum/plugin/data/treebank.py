"""Treebanks in CoNLL-U, and their sentences as a dataset.

A word with its head is a number from 1; the head of the root is 0. Multiword tokens and empty nodes
are no words: they are kept in the file, but a parser does not see them.

Shapes: B sentences, T words with the root in front, C bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary
from torch.nn.utils.rnn import pad_sequence

from ...files import opened
from ..modules.byte_features import collate_bytes
from ..modules.trees import why_no_tree
from .sized import SizedDataset, padded

COLUMNS = ["id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"]
HEAD, DEPREL = map(COLUMNS.index, ("head", "deprel"))


@dataclass(frozen=True)
class Sentence:
    """A sentence of a treebank."""

    lines: list[list[str]]  # split at tabs; a comment is usually a single part

    @classmethod
    def of(cls, words: Iterable[str]) -> Sentence:
        """A sentence of words, with all other columns empty."""
        return cls([[str(k), word, *["_"] * 8] for k, word in enumerate(words, start=1)])

    @property
    def tokens(self) -> list[list[str]]:
        """The lines of its words, which have neither a comment, nor a range, nor an empty node."""
        return [line for line in self.lines if not re.match(r"#|\d+[-.]", line[0])]

    @property
    def words(self) -> list[str]:
        return self.column("form")

    @property
    def heads(self) -> list[int]:
        """The number of each word's head, from 1; 0 for the root, and where there is none."""
        return [int(head) if head.isdecimal() else 0 for head in self.column("head")]

    def column(self, name: str) -> list[str]:
        """The values of a column, such as `deprel` or `upos`."""
        return [token[COLUMNS.index(name)] for token in self.tokens]

    def set_tree(self, heads: Iterable[int], relations: Iterable[str]) -> None:
        """Replace the heads and relations of its words."""
        for token, head, relation in zip(self.tokens, heads, relations, strict=True):
            token[HEAD], token[DEPREL] = str(head), relation

    def serialize(self) -> str:
        """Its lines as in a file of CoNLL-U."""
        return "".join("\t".join(line) + "\n" for line in self.lines) + "\n"


def read_treebank(path: Path, *, with_trees: bool) -> Iterator[Sentence]:
    """Read a file of CoNLL-U, which may end in .gz.

    Args:
        path: the file.
        with_trees: whether each sentence must have a tree: one root, and no cycle.

    Raises:
        ValueError: the file is not CoNLL-U in UTF-8, or a tree is wrong; the message has the line.
    """
    for between, block in groupby(_lines(path), key=lambda line: not line[1].strip()):
        if between:
            continue
        numbers, texts = zip(*block, strict=True)
        sentence = Sentence([text.split("\t") for text in texts])
        if problem := _problem(sentence, with_trees):
            raise ValueError(f"{path}, sentence from line {numbers[0]}: {problem}")
        yield sentence


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file and their numbers, from 1; they are comments, empty, or have columns."""
    with opened(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}, line {number}: it is not UTF-8") from error
            if line.strip() and line[0] != "#" and line.count("\t") + 1 != len(COLUMNS):
                raise ValueError(
                    f"{path}, line {number}: a line has {len(COLUMNS)} columns, separated by tabs, "
                    "or is a comment with a #"
                )
            yield number, line


def _problem(sentence: Sentence, with_trees: bool) -> str | None:
    """What is wrong with a sentence, or None."""
    ids = sentence.column("id")
    if not ids or ids != [str(k + 1) for k in range(len(ids))]:
        return "number its words 1, 2, 3, ... in the first column"
    if "" in sentence.words:
        return f"word {sentence.words.index('') + 1} has no form"
    if not with_trees:
        return None
    for word, head in enumerate(sentence.column("head"), start=1):
        if not head.isdecimal():
            return f"word {word} has the head {head}"
    return why_no_tree(sentence.heads)


class TreebankDataset(SizedDataset):
    """Sentences of a treebank as numbers, with the root in front, for `wsum_biaffine_parser`."""

    def __init__(
        self,
        sentences: Sequence[Sentence],
        words: Dictionary,  # in lower case
        relations: Dictionary,
        tags: tuple[Dictionary, str] | None,  # with the name of their column
    ) -> None:
        super().__init__(sentences, (len(one.tokens) + 1 for one in sentences))
        self.words, self.relations, self.tags = words, relations, tags

    def ordered_indices(self) -> Any:
        """From short to long; sentences of one length in random order."""
        order = np.random.permutation(len(self))
        return order[np.argsort(self.sizes[order], kind="stable")]

    def collater(self, samples: list[tuple[int, Sentence]]) -> dict[str, Any]:
        """A batch: `src_tokens` and the others B x T, padded on the right; `src_bytes` B x T x C.

        `heads` and `relations` are the trees; those of the root and of padding have no meaning.
        """
        if not samples:
            return {}
        sentences, bos = [one for _, one in samples], self.words.bos()
        inputs = {
            "src_tokens": padded((map(str.lower, one.words) for one in sentences), self.words, bos),
            "src_bytes": collate_bytes([["", *one.words] for one in sentences]),
        }
        if self.tags is not None:
            tags, column = self.tags
            inputs["src_tags"] = padded((one.column(column) for one in sentences), tags, bos)
        heads = [torch.tensor([0, *one.heads]) for one in sentences]
        return {
            "id": torch.tensor([k for k, _ in samples]),
            "nsentences": len(samples),
            "ntokens": sum(len(one.tokens) for one in sentences),  # without the roots
            "net_input": inputs,
            "heads": pad_sequence(heads, True),
            "relations": padded((one.column("deprel") for one in sentences), self.relations, bos),
        }
