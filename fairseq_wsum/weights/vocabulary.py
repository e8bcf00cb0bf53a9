"""From a text to the tokens of a dictionary, and back to words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fairseq.data import Dictionary, encoders
from omegaconf import OmegaConf
from torch import Tensor

from .sentences import UNKNOWN, Text, join_words


class Tokens(NamedTuple):
    """A text in the tokens of a dictionary.

    Attributes:
        indices: the entries of the dictionary, one for each time step.
        text: their names, and the words of which they are parts.
        inputs: all that a model reads which needs more than these entries.
    """

    indices: Tensor
    text: Text
    inputs: Mapping[str, Tensor] | None = None


class Vocabulary:
    """A dictionary and the segmentation of its text.

    It has subwords if at least one symbol in a hundred has their mark, as a text of words may
    contain a stray one.

    Args:
        dictionary: the dictionary.
        data: the folder of the data, whose `spm.model` segments text into subwords of
            sentencepiece.
        model: the model of sentencepiece to take instead, or the codes of subword-nmt.

    Attributes:
        kind: fairseq's name of the segmentation, `sentencepiece` or `subword_nmt`; None for words.
        bpe: fairseq's segmentation; None if the text is segmented already.

    Raises:
        OSError, RuntimeError: the model is missing or not usable.
    """

    def __init__(self, dictionary: Dictionary, data: Path, model: Path | None = None) -> None:
        self.dictionary = dictionary
        self.kind: str | None = None
        self.bpe: Any = None
        few = len(dictionary) / 100
        if sum(symbol.startswith("▁") for symbol in dictionary.symbols) >= few:
            self.kind, option = "sentencepiece", "sentencepiece_model"
            if model is None and (data / "spm.model").is_file():
                model = data / "spm.model"
        elif sum(symbol.endswith("@@") for symbol in dictionary.symbols) >= few:
            self.kind, option = "subword_nmt", "bpe_codes"
        if self.kind is not None and model is not None:
            settings = OmegaConf.create({"_name": self.kind, option: str(model)})
            self.bpe = encoders.build_bpe(settings)

    def encode(self, text: str) -> Tokens:
        """The tokens of a text, which may be segmented already."""
        text = " ".join(text.split())  # subword models read a tab or a no-break space as a letter
        mark = "▁" if self.kind == "sentencepiece" else "@@ "
        if self.bpe is not None and mark not in text:
            text = self.bpe.encode(text)
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
