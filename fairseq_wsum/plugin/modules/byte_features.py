"""Features of words from their bytes in UTF-8.

Shapes: B sentences, T words, C bytes, N distinct words of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

MAX_BYTES = 50  # of a word, as in fairseq's CharacterTokenEmbedder; the others are left out
NO_BYTE = 0  # byte b is b + 1


def collate_bytes(sentences: Sequence[Sequence[str]]) -> Tensor:
    """The bytes of the words of some sentences, padded on the right: B x T x C."""
    words = [
        torch.tensor([byte + 1 for byte in word.encode()[:MAX_BYTES]], dtype=torch.long)
        for words in sentences
        for word in words
    ]
    of_words = pad_sequence(words, True, NO_BYTE)  # all words of the batch x C
    return pad_sequence(of_words.split([len(words) for words in sentences]), True, NO_BYTE)


class ByteFeatures(nn.Module):
    """max_t relu(W * e_t + b): a convolution over the bytes of a word, and its maximum (Kim, 2014).

    A filter sees five bytes.

    Args:
        embed_dim: size of the embedding of a byte.
        features: number of filters.
    """

    def __init__(self, embed_dim: int, features: int) -> None:
        super().__init__()
        self.embed_bytes = nn.Embedding(257, embed_dim, padding_idx=NO_BYTE)
        self.filters = nn.Conv1d(embed_dim, features, 5, padding="same")

    def forward(self, bytes: Tensor) -> Tensor:
        """B x T x C bytes -> B x T x features. A word without bytes has features of zero."""
        # the same words occur again and again
        distinct, places = torch.unique(bytes.flatten(0, 1), dim=0, return_inverse=True)  # N x C
        x = F.relu(self.filters(self.embed_bytes(distinct).transpose(1, 2)))
        # zero is the smallest value of relu, so that it does not change the maximum
        x = x.masked_fill(distinct.eq(NO_BYTE).unsqueeze(1), 0).amax(2)
        # the gradient of an index is a sum whose order differs from run to run with several threads
        return F.embedding(places.view(bytes.shape[:2]), x)
