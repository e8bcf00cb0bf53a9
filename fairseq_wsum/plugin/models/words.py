"""How the parser, BiDAF and the classifier read words: their common options and features.

Shapes: B sentences, T words, C bytes, E features of the embedding or of the bytes.
"""

# Without `from __future__ import annotations`: fairseq needs the types of the options.
from dataclasses import dataclass
from typing import Optional

from fairseq.data import Dictionary
from torch import Tensor, nn

from ...layer import WsumLSTM
from ..modules.byte_features import ByteFeatures
from .fields import option, size
from .initial_values import embedding, load_embedding
from .options import CellOptions, described_cell

# fairseq needs `Optional[X]` here: see options.py
# ruff: noqa: UP045


@dataclass
class WordOptions(CellOptions):
    """The options of all three."""

    encoder_embed_dim: int = size(100, "word embedding dimension")
    encoder_embed_path: Optional[str] = option(None, "path to pre-trained word embedding")
    encoder_hidden_size: int = size(100, "hidden size of each direction of all layers")

    def layers(
        self, features: int, number: int, dropout: nn.Module, bidirectional: bool = True
    ) -> WsumLSTM:
        """Some layers of the cell, the first of which reads `features`."""
        return WsumLSTM(
            features,
            self.encoder_hidden_size,
            number,
            dropout=dropout,
            bidirectional=bidirectional,
            cell=described_cell(self, self.cell),
            backend=self.lstm_backend,
        )


@dataclass
class ByteOptions(WordOptions):
    """The options of the parser and of BiDAF, which read the bytes of words, too."""

    character_features: int = option(
        100, "number of filters of the convolution over the bytes of a word; 0: none", at_least=0
    )
    character_embedding_dim: int = size(16, "embedding dimension of a byte")


class WordFeatures(nn.Module):
    """E_w and CNN(bytes of w): the embedding of each word, and the features of its bytes."""

    def __init__(self, cfg: ByteOptions, dictionary: Dictionary) -> None:
        super().__init__()
        self.embed_tokens = embedding(dictionary, cfg.encoder_embed_dim)
        features = cfg.character_features
        self.bytes = ByteFeatures(cfg.character_embedding_dim, features) if features else None
        self.size = cfg.encoder_embed_dim + features
        load_embedding(cfg.encoder_embed_path, dictionary, self.embed_tokens)

    def forward(self, tokens: Tensor, bytes: Tensor) -> list[Tensor]:
        """The parts of the features of B x T words and their B x T x C bytes, B x T x E each.

        They are the embedding and, if there are any, the features of the bytes; `size` in all.
        """
        parts: list[Tensor] = [self.embed_tokens(tokens)]
        return parts if self.bytes is None else [*parts, self.bytes(bytes)]
