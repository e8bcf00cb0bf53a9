"""What datasets share whose samples are not fairseq's binary data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from fairseq.data import FairseqDataset
from torch import Tensor


class SizedDataset(FairseqDataset):
    """A dataset of samples of these `sizes`: an array of their numbers of tokens."""

    sizes: Any

    def __len__(self) -> int:
        return len(self.sizes)

    def num_tokens(self, index: int) -> int:
        size: int = self.sizes[index]
        return size

    def num_tokens_vec(self, indices: Any) -> Any:
        return self.sizes[indices]

    def size(self, index: int) -> int:
        return self.num_tokens(index)


def padded(rows: Sequence[Sequence[int]], pad: int) -> Tensor:
    """Rows of numbers as a matrix, padded on the right."""
    result = torch.full((len(rows), max(map(len, rows))), pad)
    for row, values in zip(result, rows, strict=True):
        row[: len(values)] = torch.tensor(values)
    return result
