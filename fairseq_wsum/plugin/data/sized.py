"""What datasets share whose samples are not fairseq's binary data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.data import Dictionary, FairseqDataset
from fairseq.data.data_utils import batch_by_size
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

MAX_TOKENS = 8000  # of a batch, which changes no result


class SizedDataset(FairseqDataset):
    """Sentences, or questions, each with its number of tokens."""

    def __init__(self, items: Sequence[Any], sizes: Iterable[int]) -> None:
        self.items, self.sizes = items, np.array([*sizes], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, self.items[index]

    def num_tokens(self, index: int) -> int:
        return int(self.sizes[index])

    def batches(self, model: Any) -> Iterator[dict[str, Any]]:
        """All samples from short to long, in batches on the device of a model."""
        device = next(model.parameters()).device
        most = int(self.sizes.max(initial=MAX_TOKENS))
        order = self.sizes.argsort(kind="stable")
        for indices in batch_by_size(order, self.num_tokens, max_tokens=most):
            batch = self.collater([self[k] for k in indices])
            yield utils.apply_to_sample(lambda part: part.to(device), batch)


def padded(rows: Iterable[Iterable[str]], dictionary: Dictionary, *first: int) -> Tensor:
    """The indices of words, each row after `first`, as a matrix padded on the right.

    A word that looks like padding, such as `<pad>`, is unknown.
    """
    unk, nspecial = dictionary.unk(), dictionary.nspecial
    found = ([*map(dictionary.index, row)] for row in rows)
    numbers = [[*first, *(k if k >= nspecial else unk for k in row)] for row in found]
    return pad_sequence([*map(torch.tensor, numbers)], True, dictionary.pad())
