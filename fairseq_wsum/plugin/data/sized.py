"""What datasets share whose samples are not fairseq's binary data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from fairseq import utils
from fairseq.data import Dictionary, FairseqDataset
from fairseq.data.data_utils import batch_by_size
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

MAX_TOKENS = 8000  # of a batch, which changes no result


class SizedDataset(FairseqDataset):
    """A dataset whose `sizes` are the numbers of tokens of its samples."""

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

    def batches(self, model: Any) -> Iterator[dict[str, Any]]:
        """All samples from short to long, in batches on the device of a model."""
        device = next(model.parameters()).device
        most = int(self.sizes.max(initial=MAX_TOKENS))
        order = self.sizes.argsort(kind="stable")
        for indices in batch_by_size(order, self.num_tokens, max_tokens=most):
            batch = self.collater([self[k] for k in indices])
            yield utils.apply_to_sample(lambda part: part.to(device), batch)


def indices_of(words: Iterable[str], dictionary: Dictionary) -> list[int]:
    """The indices of words; a word that looks like padding, such as `<pad>`, is unknown."""
    found = map(dictionary.index, words)
    return [index if index >= dictionary.nspecial else dictionary.unk() for index in found]


def padded(rows: Sequence[Sequence[int]], pad: int) -> Tensor:
    """Rows of numbers as a matrix, padded on the right."""
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], True, pad)
