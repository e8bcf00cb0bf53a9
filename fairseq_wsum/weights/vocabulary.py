"""From lines of text to the tokens of a model's dictionaries, and back to words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fairseq.data import Dictionary, encoders
from omegaconf import OmegaConf
from torch import Tensor

from .sentences import BOUNDARIES, UNKNOWN, Text, join_words

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


class Vocabulary:
    """The dictionaries of a model and the segmentation of its text.

    A side has subwords if its dictionary has their marks; one may have words, and the other not.

    Args:
        dictionaries: the dictionary of each side, `encoder` or `decoder`.
        bpe: fairseq's segmentation; None if the text is segmented already.
    """

    def __init__(self, dictionaries: Mapping[str, Dictionary], bpe: Any = None) -> None:
        self.dictionaries = dictionaries
        self._bpe = bpe
        self._kinds = {side: _kind_of(words.symbols) for side, words in dictionaries.items()}

    def encode(self, side: str, text: str) -> Tokens:
        """The tokens of a text in the dictionary of a side."""
        dictionary, kind = self.dictionaries[side], self._kinds[side]
        text = " ".join(text.split())  # subword models read a tab or a no-break space as a letter
        if self._bpe is not None and kind is not None and _MARKS[kind] not in text:
            text = self._bpe.encode(text)
        indices = dictionary.encode_line(text, add_if_not_exist=False).long()
        names = [*text.split(), dictionary.eos_word]
        for n, (name, k) in enumerate(zip(names, indices.tolist(), strict=True)):
            if k == dictionary.unk() and name != dictionary.unk_word:
                names[n] += UNKNOWN
        return Tokens(indices, self.join(side, names))

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


def segmentation(name: str | None, model: Path | None, folder: Path) -> Any:
    """fairseq's segmentation into subwords, or None.

    Args:
        name: fairseq's name, `sentencepiece` or `subword_nmt`; by default sentencepiece if the
            folder has `spm.model`.
        model: the model of sentencepiece, or the codes of subword-nmt.
        folder: the folder with the data of the translation model or language model.

    Raises:
        OSError, RuntimeError, ValueError: the model of the segmentation is missing or not usable.
    """
    prepared = folder / "spm.model"
    if model is None and name in (None, "sentencepiece") and prepared.is_file():
        name, model = "sentencepiece", prepared
    if (name is None) != (model is None):
        raise ValueError("give --bpe and --bpe-model together")
    if name is None:
        return None
    option = {"sentencepiece": "sentencepiece_model", "subword_nmt": "bpe_codes"}[name]
    return encoders.build_bpe(OmegaConf.create({"_name": name, option: str(model)}))


def _kind_of(symbols: Sequence[str]) -> str | None:
    """The segmentation by whose marks a dictionary has subwords; None for words.

    At least one symbol in a hundred must have the mark, as text of words may contain a stray one.
    """
    few = len(symbols) / 100
    if sum(symbol.startswith("▁") for symbol in symbols) >= few:
        return "sentencepiece"
    return "subword_nmt" if sum(symbol.endswith("@@") for symbol in symbols) >= few else None
