"""What a model computed on a sentence: its words, a trace of every layer, and the attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .trace import Trace

BOUNDARIES = ("<s>", "</s>")  # tokens that are no words
SPECIAL = (*BOUNDARIES, "<unk>")  # tokens that are never a part of a word
UNKNOWN = " <unk>"  # after the name of a token that the dictionary lacks


@dataclass(frozen=True)
class Text:
    """A sentence as the model reads it.

    Attributes:
        tokens: the entries of the dictionary, one for each time step, such as `▁Haus` or `Hau@@`.
        words: the words of which the tokens are parts.
        word_of: the index in `words` of each token; it never decreases.
    """

    tokens: tuple[str, ...]
    words: tuple[str, ...]
    word_of: tuple[int, ...]

    def without_boundaries(self) -> list[str]:
        """The words, without `<s>` and `</s>`."""
        return [word for word in self.words if word not in BOUNDARIES]


@dataclass(frozen=True)
class View:
    """One layer of an encoder or a decoder on one sentence.

    Attributes:
        side: `encoder` or `decoder`.
        layer: the number of the layer, from 1.
        text: the tokens that the layer reads. Those of a decoder are one step behind the tokens
            that it predicts: the first is the end-of-sentence symbol.
        directions: the trace of the forward direction and, in a bidirectional layer, that of the
            backward direction, each for a batch of one, on the CPU and without gradients.
    """

    side: str
    layer: int
    text: Text
    directions: tuple[Trace, ...]


@dataclass(frozen=True)
class Sentence:
    """One sentence in a model.

    Attributes:
        views: every layer whose cell is a weighted sum: first the encoder's, then the decoder's.
        source: the source sentence; None in a model with a single text, such as a language model.
        target: the tokens that the decoder predicts, or the only text.
        attention: the decoder's attention weights, predicted token x source token, or None.
    """

    views: tuple[View, ...]
    source: Text | None
    target: Text
    attention: Tensor | None

    @property
    def given(self) -> Text:
        """The source sentence, or the only text."""
        return self.target if self.source is None else self.source

    @property
    def given_views(self) -> list[View]:
        """The views of the side that reads `given`."""
        return [view for view in self.views if self.source is None or view.side == "encoder"]


@dataclass(frozen=True)
class Model:
    """A model and what it computed on some sentences.

    Attributes:
        name: the name to show.
        architecture: fairseq's name of the architecture.
        cell_names: the label of the cell of each side, such as `{"encoder": "lstm"}`.
        sentences: the sentences, in the order in which they were given.
    """

    name: str
    architecture: str
    cell_names: dict[str, str]
    sentences: Sequence[Sentence]


def join_words(tokens: Sequence[str], kind: str | None) -> Text:
    """Group subword tokens into words.

    Args:
        tokens: entries of the dictionary, or other pieces with the mark `UNKNOWN`. A word with such
            a piece has the mark, too.
        kind: how subwords are marked: `sentencepiece` (a word begins with ▁), `subword_nmt` (a
            token that ends with @@ continues in the next one), or None for whole words.
    """
    words: list[str] = []
    word_of: list[int] = []
    begins = True  # whether the next token begins a word, whatever it is
    for name in tokens:
        token, special = name.removesuffix(UNKNOWN), name in SPECIAL
        marked = kind == "sentencepiece" and token.startswith("▁")
        if begins or special or marked or kind is None:
            words.append("")
        begins = special or (kind == "subword_nmt" and not token.endswith("@@"))
        if kind == "sentencepiece":
            token = token.removeprefix("▁")
        elif kind == "subword_nmt":
            token = token.removesuffix("@@")
        unknown = name.endswith(UNKNOWN) or words[-1].endswith(UNKNOWN)
        words[-1] = words[-1].removesuffix(UNKNOWN) + token + UNKNOWN * unknown
        word_of.append(len(words) - 1)
    return Text(tuple(tokens), tuple(words), tuple(word_of))


def join_norms(norms: Tensor, text: Text, reverse: bool) -> Tensor:
    """The norms of words from the norms of their tokens: t x j for tokens -> t x j for words.

    The weight of a word has the weights of its tokens side by side, so its norm is the root of
    the sum of their squares. The memory is that after the last token of a word was read, which is
    its first one in a backward direction.
    """
    word_of = torch.tensor(text.word_of)
    squares = norms.new_zeros(len(word_of), len(text.words)).index_add_(1, word_of, norms**2)
    return squares[last_tokens(text, reverse)].sqrt()


def last_tokens(text: Text, reverse: bool) -> Tensor:
    """The index of the token with which each word is complete, in the order of a direction."""
    counts = torch.tensor(text.word_of).bincount()
    return counts.cumsum(0) - (counts if reverse else 1)
