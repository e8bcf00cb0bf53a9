"""From a text to the tokens of a dictionary, and back to words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fairseq.data import Dictionary, encoders
from omegaconf import OmegaConf
from torch import Tensor

from .sentences import UNKNOWN, Text, join_words


class Tokens(NamedTuple):
    """A text in the tokens of a dictionary, of which the last is the end of the sentence.

    Attributes:
        indices: the entries of the dictionary, one for each time step.
        text: their names, and the words of which they are parts.
    """

    indices: Tensor
    text: Text


class Vocabulary:
    """A dictionary and the segmentation of its text.

    It has subwords if at least one symbol in a hundred has the mark of subwords: a text of words
    may contain a stray one.

    Args:
        dictionary: the dictionary.
        bpe: fairseq's segmentation; None if the text is segmented already.
    """

    def __init__(self, dictionary: Dictionary, bpe: Any = None) -> None:
        self.dictionary, self._bpe = dictionary, bpe
        few = len(dictionary) / 100
        self.kind = None
        if sum(symbol.startswith("▁") for symbol in dictionary.symbols) >= few:
            self.kind = "sentencepiece"
        elif sum(symbol.endswith("@@") for symbol in dictionary.symbols) >= few:
            self.kind = "subword_nmt"

    def encode(self, text: str) -> Tokens:
        """The tokens of a text, which may be segmented already."""
        text = " ".join(text.split())  # subword models read a tab or a no-break space as a letter
        mark = {"sentencepiece": "▁", "subword_nmt": "@@ ", None: ""}[self.kind]
        if self._bpe is not None and mark not in text:
            text = self._bpe.encode(text)
        indices = self.dictionary.encode_line(text, add_if_not_exist=False).long()
        names = [*text.split(), self.dictionary.eos_word]
        for n, (name, k) in enumerate(zip(names, indices.tolist(), strict=True)):
            if k == self.dictionary.unk() and name != self.dictionary.unk_word:
                names[n] += UNKNOWN
        return Tokens(indices, self.join(names))

    def join(self, names: Sequence[str]) -> Text:
        """The words of which tokens are parts."""
        return join_words(names, self.kind)

    def counts(self) -> dict[str, int] | None:
        """How often each word occurs in the training text; None with subwords."""
        if self.kind is not None:
            return None
        counts = zip(self.dictionary.symbols, self.dictionary.count, strict=True)
        return dict(list(counts)[self.dictionary.nspecial :])


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
