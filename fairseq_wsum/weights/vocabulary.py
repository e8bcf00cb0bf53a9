"""From lines of text to the tokens of a model's dictionaries, and back to words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq.data import Dictionary, encoders
from omegaconf import OmegaConf
from torch import Tensor

from .sentences import BOUNDARIES, UNKNOWN, Line, Text, join_words

# In a text that is segmented into subwords, by fairseq's name of the segmentation.
_MARKS = {"sentencepiece": "▁", "subword_nmt": "@@ "}


class Tokens(NamedTuple):
    """A text in the tokens of a dictionary, of which the last is the end of the sentence.

    Attributes:
        indices: the entries of the dictionary, one for each time step.
        text: their names, and the words of which they are parts.
    """

    indices: Tensor
    text: Text

    @property
    def words(self) -> tuple[str, ...]:
        """The words, without `<s>` and `</s>`."""
        return tuple(word for word in self.text.words if word not in BOUNDARIES)


class EncodedLine(NamedTuple):
    """A line as a model reads it.

    Attributes:
        line: the line.
        sides: what the encoder and the decoder read, as far as it is given: a translation model
            has no tokens for its decoder if it makes the translation itself.
    """

    line: Line
    sides: dict[str, Tokens]


class Vocabulary:
    """The dictionaries of a model and the segmentation of its text.

    A side has subwords if its dictionary has their marks; one may have words, and the other not.

    Args:
        dictionaries: the dictionary of each side, `encoder` or `decoder`.
        folder: the folder with the model's data.
        bpe: fairseq's name of the segmentation, `sentencepiece` or `subword_nmt`, or None if the
            text is segmented already. By default sentencepiece if the folder has `spm.model`.
        bpe_model: the model of sentencepiece, or the codes of subword-nmt.

    Attributes:
        needs_segmentation: the sides that have subwords, if no model is given that makes them.

    Raises:
        OSError, ValueError: the model of the segmentation is missing or not usable.
    """

    def __init__(
        self,
        dictionaries: Mapping[str, Dictionary],
        folder: Path,
        bpe: str | None = None,
        bpe_model: Path | None = None,
    ) -> None:
        self.dictionaries = dictionaries
        kind, self._bpe = _segmentation(bpe, bpe_model, folder)
        self._kinds = {side: _kind_of(words.symbols) for side, words in dictionaries.items()}
        if kind is not None:
            unmarked = not any(self._kinds.values())  # so small that every word is a token
            self._kinds = {s: kind if own or unmarked else None for s, own in self._kinds.items()}
        unmade = self._kinds if self._bpe is None else {}
        self.needs_segmentation = frozenset(side for side, own in unmade.items() if own)

    def encode(self, side: str, text: str) -> Tokens:
        """The tokens of a text in the dictionary of a side."""
        dictionary, kind = self.dictionaries[side], self._kinds[side]
        segmented = self._bpe is None or kind is None or _MARKS[kind] in text
        text = " ".join(text.split())  # subword models read a tab or a no-break space as a letter
        pieces = (text if segmented else self._bpe.encode(text)).split()
        indices = [dictionary.index(piece) for piece in pieces]
        # the word <pad> is no padding
        indices = [dictionary.unk() if k == dictionary.pad() else k for k in indices]
        unknown = dictionary.unk_string()
        names = [
            piece + UNKNOWN if k == dictionary.unk() and piece != unknown else piece
            for piece, k in zip(pieces, indices, strict=True)
        ]
        eos = dictionary.eos()
        return Tokens(torch.tensor([*indices, eos]), self.join(side, [*names, dictionary[eos]]))

    def join(self, side: str, names: Sequence[str]) -> Text:
        """The words of which tokens are parts."""
        return join_words(names, self._kinds[side])

    def name(self, side: str, indices: Tensor) -> Text:
        """The names of tokens, and the words of which they are parts."""
        return self.join(side, [self.dictionaries[side][int(k)] for k in indices])

    def word_counts(self, side: str) -> dict[str, int] | None:
        """How often each word occurs in the training text of a side; None with subwords."""
        if self._kinds[side] is not None:
            return None
        dictionary = self.dictionaries[side]
        counts = zip(dictionary.symbols, dictionary.count, strict=True)
        return dict(list(counts)[dictionary.nspecial :])


def _segmentation(name: str | None, model: Path | None, folder: Path) -> tuple[str | None, Any]:
    """The segmentation into subwords: its name and its encoder, or None, None."""
    if name is None and model is not None:
        raise ValueError("--bpe-model needs --bpe: choose sentencepiece or subword_nmt")
    prepared = folder / "spm.model"
    if model is None and name in (None, "sentencepiece") and prepared.is_file():
        name, model = "sentencepiece", prepared
    if name is None:
        return None, None
    if model is None:
        raise ValueError(f"--bpe {name} needs --bpe-model FILE")
    if not model.is_file():
        raise FileNotFoundError(f"--bpe-model {model}: there is no such file")
    option = {"sentencepiece": "sentencepiece_model", "subword_nmt": "bpe_codes"}[name]
    try:
        return name, encoders.build_bpe(OmegaConf.create({"_name": name, option: str(model)}))
    except (OSError, RuntimeError, ValueError) as error:  # what the libraries raise for other files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"--bpe-model {model}: not a model of {name} ({reason})") from error


def _kind_of(symbols: Sequence[str]) -> str | None:
    """The segmentation by whose marks a dictionary has subwords; None for words.

    At least one symbol in a hundred must have the mark, as text of words may contain a stray one.
    """
    few = len(symbols) / 100
    if sum(symbol.startswith("▁") for symbol in symbols) >= few:
        return "sentencepiece"
    return "subword_nmt" if sum(symbol.endswith("@@") for symbol in symbols) >= few else None
