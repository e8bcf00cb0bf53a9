"""A corpus as one stream of tokens, and batches that read it in order.

The protocol is that of Zaremba et al. (2014) and of TensorFlow's PTB tutorial. The sentences in the
order of the corpus, each with its end-of-sentence token, form one stream. This stream is divided
into B parallel streams of equal length, and a batch holds the next T tokens of each. The targets of
a batch are these tokens, and the inputs are the tokens before them. An end-of-sentence token
precedes the first token of the corpus, so that every token is a target exactly once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fairseq.data import FairseqDataset
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

Sample = dict[str, Any]


class TokenStream(FairseqDataset):
    """The concatenated sentences of a fairseq data set.

    Args:
        sentences: a data set of 1-D tensors with an attribute `sizes`; it may be on disk.
        eos: index of the end-of-sentence token, which precedes the first token.
        pad, unk: indices of padding and of the unknown word. fairseq-preprocess maps the word
            `<pad>` in a text to the index of padding, which losses ignore. Such a word is read as
            an unknown word.
    """

    def __init__(self, sentences: Any, *, eos: int, pad: int, unk: int) -> None:
        self.sentences = sentences
        self.ends: NDArray[np.int64] = np.cumsum(sentences.sizes, dtype=np.int64)
        self.eos = eos
        self.pad = pad
        self.unk = unk

    def __len__(self) -> int:
        """Number of tokens."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def read(self, start: int, stop: int) -> Tensor:
        """The tokens [start, stop). Position -1 is the end-of-sentence token before the first."""
        parts = [torch.tensor([self.eos])] if start < 0 <= stop else []
        start = max(start, 0)
        k = int(np.searchsorted(self.ends, start, side="right"))  # the sentence with `start`
        while start < stop:
            first = int(self.ends[k - 1]) if k > 0 else 0
            end = min(int(self.ends[k]), stop)
            part = self.sentences[k][start - first : end - first].long()
            parts.append(part.masked_fill(part == self.pad, self.unk))
            start = end
            k += 1
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.long)


class StreamBatches(Dataset[Sample]):
    """Batches of parallel streams in order. Each item is a whole batch.

    Several groups (see `training_batches`) alternate: step 0 of all groups, then step 1 of all
    groups, and so on.

    Args:
        stream: the tokens.
        bounds: the range [first, end) of each stream of each group, groups x streams x 2.
        cuts: the boundaries of the steps, counted from the start of each stream; the first is 0.
            Streams that are shorter than the last cut are padded on the right.
        first_group: the number of the first group; the others follow.
    """

    def __init__(
        self,
        stream: TokenStream,
        bounds: NDArray[np.int64],
        cuts: NDArray[np.int64],
        first_group: int,
    ) -> None:
        self.stream = stream
        self.bounds = bounds
        self.cuts = cuts
        self.first_group = first_group

    def __len__(self) -> int:
        return self.groups * (len(self.cuts) - 1)

    @property
    def groups(self) -> int:
        """The number of groups, that is, of batches in a step."""
        return len(self.bounds)

    def __getitem__(self, index: int) -> Sample:
        """A batch in fairseq's form, with its `group` and `step`. Source and target are B x T.

        `id` numbers the rows in the order of the batches; fairseq-eval-lm prints it.
        """
        step, group = divmod(index, self.groups)
        start, stop = int(self.cuts[step]), int(self.cuts[step + 1])
        streams, pad = self.bounds[group], self.stream.pad
        tokens = torch.full((len(streams), stop - start + 1), pad)
        for row, (first, end) in zip(tokens, streams.tolist(), strict=True):
            part = self.stream.read(min(first + start, end) - 1, min(first + stop, end))
            row[: len(part)] = part
        target = tokens[:, 1:].contiguous()
        lengths = target.ne(pad).sum(1)
        return {
            "id": torch.arange(len(streams)) + index * len(streams),
            "nsentences": len(streams),
            "ntokens": int(lengths.sum()),
            "net_input": {"src_tokens": tokens[:, :-1].contiguous(), "src_lengths": lengths},
            "target": target,
            "group": self.first_group + group,
            "step": step,
        }


def training_batches(
    stream: TokenStream,
    *,
    streams: int,
    steps: int,
    groups: int,
    process: int,
    processes: int,
) -> StreamBatches:
    """Batches to train on: B streams at a time, T tokens of each.

    An update consists of the batches of all processes, with several batches per process if
    --update-freq is above 1. Every batch of an update reads its own group of B streams. So two
    processes read the same streams as one process with --update-freq 2.

    The lengths of the streams differ by at most one token, and the last step may be shorter than T.
    No token is left out.

    Args:
        stream: the tokens.
        streams: number of streams in a batch, B.
        steps: number of time steps in a batch, T.
        groups: number of batches in an update of one process.
        process, processes: index of this process, and number of processes.
    """
    total = processes * groups * streams
    ends = np.arange(total + 1, dtype=np.int64) * len(stream) // total
    bounds = np.stack((ends[:-1], ends[1:]), axis=1).reshape(processes, groups, streams, 2)
    longest = int(np.diff(ends).max())
    cuts = np.append(np.arange(0, longest, steps, dtype=np.int64), longest)
    return StreamBatches(stream, bounds[process], cuts, process * groups)


def scoring_batches(stream: TokenStream, *, tokens: int, process: int) -> StreamBatches:
    """Batches to score: a single stream, so that every token is predicted from its whole past.

    Batches end at sentence ends where possible. The first process reads the stream; batches in
    other processes have one row without targets.

    Args:
        stream: the tokens.
        tokens: maximum number of tokens in a batch.
        process: index of this process.
    """
    bounds = np.array([[[0, len(stream) if process == 0 else 0]]], dtype=np.int64)
    return StreamBatches(stream, bounds, _whole_sentences(stream.ends, tokens), 0)


def _whole_sentences(ends: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Boundaries of parts of at most `limit` tokens. Only longer sentences are split."""
    cuts = [0]
    while cuts[-1] < ends[-1]:
        within = int(np.searchsorted(ends, cuts[-1] + limit, side="right"))
        end = int(ends[within - 1]) if within > 0 else 0
        cuts.append(end if end > cuts[-1] else cuts[-1] + limit)
    return np.array(cuts, dtype=np.int64)
