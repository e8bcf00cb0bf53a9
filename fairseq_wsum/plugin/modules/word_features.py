"""Features of words: an embedding of the word, and a convolution over its bytes.

Shapes: B sentences, T words, C bytes, N distinct words of a batch, E features of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

MAX_BYTES = 50  # of a word, as in fairseq's CharacterTokenEmbedder; the others are left out
NO_BYTE = 0  # byte b is b + 1


def collate_bytes(sentences: Sequence[Sequence[str]]) -> Tensor:
    """The bytes in UTF-8 of the words of some sentences, padded on the right: B x T x C."""
    words = [
        torch.tensor([byte + 1 for byte in word.encode()[:MAX_BYTES]], dtype=torch.long)
        for words in sentences
        for word in words
    ]
    of_words = pad_sequence(words, True, NO_BYTE)  # all words of the batch x C
    return pad_sequence(of_words.split([len(words) for words in sentences]), True, NO_BYTE)


class ByteFeatures(nn.Module):
    """max_t relu(W * e_t + b): a convolution over the bytes of a word, and its maximum (Kim, 2014).

    Args:
        embed_dim: size of the embedding of a byte.
        features: number of filters.
        width: number of bytes that a filter sees.
    """

    def __init__(self, embed_dim: int, features: int, width: int = 5) -> None:
        super().__init__()
        self.embed_bytes = nn.Embedding(257, embed_dim, padding_idx=NO_BYTE)
        self.filters = nn.Conv1d(embed_dim, features, width, padding="same")

    def forward(self, bytes: Tensor) -> Tensor:
        """N x C bytes -> N x features. A word without bytes has features of zero."""
        x = self.filters(self.embed_bytes(bytes).transpose(1, 2))
        # zero is the smallest value of relu, so that it does not change the maximum
        x = F.relu(x).masked_fill(bytes.eq(NO_BYTE).unsqueeze(1), 0)
        return x.amax(2)


class WordFeatures(nn.Module):
    """E_w and CNN(bytes of w): the embedding of each word, and the features of its bytes.

    Args:
        dictionary: the words.
        embed_dim: size of the embedding of a word.
        byte_features: number of features of its bytes; 0 for none.
        byte_embed_dim: see `ByteFeatures`.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        embed_dim: int,
        byte_features: int,
        byte_embed_dim: int,
    ) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(len(dictionary), embed_dim, dictionary.pad())
        self.bytes = ByteFeatures(byte_embed_dim, byte_features) if byte_features else None
        self.size = embed_dim + byte_features

    def forward(self, tokens: Tensor, bytes: Tensor) -> list[Tensor]:
        """The parts of the features of B x T words and their B x T x C bytes.

        They are the embedding and, if there are any, the features of the bytes, B x T x E each;
        `size` features in all.
        """
        parts: list[Tensor] = [self.embed_tokens(tokens)]
        if self.bytes is None:
            return parts
        # the same words occur again and again
        distinct, places = torch.unique(bytes.flatten(0, 1), dim=0, return_inverse=True)
        # the gradient of an index is a sum whose order differs from run to run with several threads
        return [*parts, F.embedding(places.view_as(tokens), self.bytes(distinct))]
