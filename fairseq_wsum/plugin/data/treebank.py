"""Treebanks in CoNLL-U, read with the library `conllu`, and their sentences as a dataset.

A word with its head is a number from 1; the head of the root is 0. Multiword tokens and empty nodes
are no words: they are kept in the file, but a parser does not see them.

Shapes: B sentences, T words with the root in front, C bytes.
"""

from __future__ import annotations

import gzip
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fairseq.data import Dictionary

from ..modules.trees import why_no_tree
from ..modules.word_features import collate_bytes
from .sized import SizedDataset, padded

if TYPE_CHECKING:
    from conllu.models import TokenList

NO_TAG = "_"
COLUMNS = ["id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"]
# `conllu` leaves out comments without a value
COMMENTS = {"__fallback__": lambda key, value: (key, value)}
# `conllu` takes the values of the other columns apart, and joins them in its own form
AS_THEY_ARE = dict.fromkeys({*COLUMNS} - {"id", "head"}, operator.getitem)


@dataclass(frozen=True)
class Sentence:
    """A sentence of a treebank.

    Attributes:
        rows: all of its lines, from `conllu`.
    """

    rows: TokenList

    @classmethod
    def of(cls, words: Iterable[str]) -> Sentence:
        """A sentence of words, with all other columns empty."""
        from conllu.models import Token, TokenList

        empty: dict[str, Any] = dict.fromkeys(COLUMNS, NO_TAG) | {"head": None}
        rows = [Token({**empty, "id": k, "form": word}) for k, word in enumerate(words, start=1)]
        return cls(TokenList(rows))

    @property
    def tokens(self) -> list[dict[str, Any]]:
        """The rows of its words."""
        return [row for row in self.rows if isinstance(row["id"], int)]

    @property
    def words(self) -> list[str]:
        return [row["form"] for row in self.tokens]

    @property
    def heads(self) -> list[int]:
        """The number of each word's head, from 1; 0 for the root."""
        return [row["head"] for row in self.tokens]

    def column(self, name: str) -> list[str]:
        """The values of a column, such as `deprel` or `upos`."""
        return [row[name] or NO_TAG for row in self.tokens]


def read_treebank(path: Path, *, with_trees: bool) -> Iterator[Sentence]:
    """Read a file of CoNLL-U, which may end in .gz.

    Args:
        path: the file.
        with_trees: whether each sentence must have a tree: one root, and no cycle.

    Raises:
        ValueError: the file is not CoNLL-U in UTF-8, or a tree is wrong; the message has the line.
    """
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig") as file:
        for number, text in _blocks(file):
            yield _sentence(path, number, text, with_trees)


def _blocks(file: Any) -> Iterator[tuple[int, str]]:
    """The text of each sentence, with the number of its first line."""
    lines: list[str] = []
    for number, line in enumerate([*file, "\n"], start=1):
        if line.strip():
            lines.append(line)
        elif lines:
            yield number - len(lines), "".join(lines)
            lines = []


def _sentence(path: Path, number: int, text: str, with_trees: bool) -> Sentence:
    from conllu import parse
    from conllu.exceptions import ParseException

    try:
        (rows,) = parse(text, field_parsers=AS_THEY_ARE, metadata_parsers=COMMENTS)
        if any(len(row) != len(COLUMNS) for row in rows):
            raise ValueError(f"a row has {len(COLUMNS)} columns, separated by tabs")
        sentence = Sentence(rows)
        ids = [row["id"] for row in sentence.tokens]
        if ids != [*range(1, len(ids) + 1)] or not ids:
            raise ValueError("number its words 1, 2, 3, ... in the first column")
        if with_trees and (problem := why_no_tree(sentence.heads)):
            raise ValueError(problem)
    except (ParseException, ValueError) as error:
        raise ValueError(f"{path}, sentence from line {number}: {error}") from error
    return sentence


class TreebankDataset(SizedDataset):
    """The sentences of a treebank as numbers, with the root in front, for `wsum_biaffine_parser`.

    Args:
        sentences: the sentences.
        words, relations: their dictionaries; the words are in lower case.
        tags: the dictionary of the tags, and the name of their column, or None.
    """

    def __init__(
        self,
        sentences: Sequence[Sentence],
        words: Dictionary,
        relations: Dictionary,
        tags: tuple[Dictionary, str] | None,
    ) -> None:
        self.words = words
        self.samples: list[dict[str, Any]] = []
        for one in sentences:
            sample: dict[str, Any] = {
                "tokens": [words.bos(), *(words.index(word.lower()) for word in one.words)],
                "words": ["", *one.words],
                "heads": [0, *(head or 0 for head in one.heads)],
                "relations": [0, *map(relations.index, one.column("deprel"))],
            }
            if tags is not None:
                dictionary, name = tags
                sample["tags"] = [dictionary.bos(), *map(dictionary.index, one.column(name))]
            self.samples.append(sample)
        self.sizes = np.array([len(sample["tokens"]) for sample in self.samples])

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"id": index, **self.samples[index]}

    def ordered_indices(self) -> Any:
        """From short to long; sentences of one length in random order."""
        order = np.random.permutation(len(self))
        return order[np.argsort(self.sizes[order], kind="stable")]

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch: `src_tokens` and the others B x T, padded on the right; `src_bytes` B x T x C.

        `heads` and `relations` are the trees; those of the root and of padding have no meaning.
        """
        if not samples:
            return {}
        pad = self.words.pad()
        inputs = {
            "src_tokens": padded([one["tokens"] for one in samples], pad),
            "src_bytes": collate_bytes([one["words"] for one in samples]),
        }
        if "tags" in samples[0]:
            inputs["src_tags"] = padded([one["tags"] for one in samples], pad)
        return {
            "id": torch.tensor([one["id"] for one in samples]),
            "nsentences": len(samples),
            "ntokens": sum(len(one["tokens"]) - 1 for one in samples),  # without the roots
            "net_input": inputs,
            "heads": padded([one["heads"] for one in samples], 0),
            "relations": padded([one["relations"] for one in samples], 0),
        }
