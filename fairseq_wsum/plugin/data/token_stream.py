"""A corpus as one stream of tokens, and batches that go through it in order.

The protocol of Zaremba et al. (2014) and of TensorFlow's PTB tutorial: sentences in the order of
the corpus, each with its end-of-sentence token, make one stream; it is cut into as many streams of
equal length as are read in parallel; a batch holds the next T tokens of each. A batch's targets are
the tokens themselves, its inputs the tokens before them: inputs and targets overlap by one, from
batch to batch too. Before the first token of all stands an end of sentence: every token is a target
once.
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
    """The sentences of a fairseq data set, one after the other.

    Args:
        sentences: a data set of 1-D tensors with an attribute `sizes`; it may lie on disk.
        eos: index of the end of a sentence, which stands before the first token.
        pad, unk: a word of the text that is the symbol for padding is read as an unknown word.
            (fairseq-preprocess gives it the index of padding, which no loss counts.)
    """

    def __init__(self, sentences: Any, *, eos: int, pad: int, unk: int) -> None:
        if getattr(sentences, "supports_prefetch", False):  # fairseq's older format wants it
            sentences.prefetch(np.arange(len(sentences)))
        self.sentences = sentences
        self.ends: NDArray[np.int64] = np.cumsum(sentences.sizes, dtype=np.int64)
        self.eos = eos
        self.pad = pad
        self.unk = unk

    def __len__(self) -> int:
        """Number of tokens."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def read(self, start: int, stop: int) -> Tensor:
        """Tokens `start` to `stop` (not included); -1 is the end of sentence before the first."""
        parts = [torch.tensor([self.eos])] if start < 0 <= stop else []
        start = max(start, 0)
        k = int(np.searchsorted(self.ends, start, side="right"))  # the sentence that `start` is in
        while start < stop:
            first = int(self.ends[k - 1]) if k > 0 else 0
            end = min(int(self.ends[k]), stop)
            part = self.sentences[k][start - first : end - first].long()
            parts.append(part.masked_fill(part == self.pad, self.unk))
            start = end
            k += 1
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.long)


class StreamBatches(Dataset[Sample]):
    """Batches of parallel streams, in order: the whole batch is an item.

    With several groups (see `training_batches`) the groups take turns: step 0 of all groups, then
    step 1 of all groups, and so on.

    Args:
        stream: the tokens.
        bounds: first token and end of each stream of each group, groups x streams x 2.
        cuts: where the steps end, counted from the start of each stream; the first is 0. A stream
            that is shorter than the last cut is padded on the right.
        first_group: what the first group is called; the others follow.
        pad: index of padding.
    """

    def __init__(
        self,
        stream: TokenStream,
        bounds: NDArray[np.int64],
        cuts: NDArray[np.int64],
        first_group: int,
        pad: int,
    ) -> None:
        self.stream = stream
        self.bounds = bounds
        self.cuts = cuts
        self.first_group = first_group
        self.pad = pad

    def __len__(self) -> int:
        return self.groups * (len(self.cuts) - 1)

    @property
    def groups(self) -> int:
        """How many batches a step is made of."""
        return len(self.bounds)

    def __getitem__(self, index: int) -> Sample:
        """A batch in fairseq's form, with the `group` that it is of and its `step` there.

        Source and target are B x T tokens.
        """
        step, group = divmod(index, self.groups)
        start, stop = int(self.cuts[step]), int(self.cuts[step + 1])
        streams = self.bounds[group]
        tokens = torch.full((len(streams), stop - start + 1), self.pad)
        for row, (first, end) in zip(tokens, streams.tolist(), strict=True):
            part = self.stream.read(min(first + start, end) - 1, min(first + stop, end))
            row[: len(part)] = part
        target = tokens[:, 1:].contiguous()
        lengths = target.ne(self.pad).sum(1)
        return {
            "id": torch.arange(len(streams)) + (self.first_group + group) * len(streams),
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
    pad: int,
) -> StreamBatches:
    """Batches to train on: B streams at a time, T tokens of each.

    An update is made of the batches of all processes, and of several from each with --update-freq:
    the streams are as many as the update has rows, and every one of its batches has a group of
    streams for itself. So two processes, and one with --update-freq 2, read the same streams.

    The lengths of the streams differ by one token at most, and the last step may be shorter:
    nothing is left out.

    Args:
        stream: the tokens.
        streams: streams in a batch, B.
        steps: time steps of a batch, T.
        groups: batches of an update in one process.
        process, processes: number of this process, and how many there are.
        pad: index of padding.
    """
    total = processes * groups * streams
    ends = np.arange(total + 1, dtype=np.int64) * len(stream) // total
    bounds = np.stack((ends[:-1], ends[1:]), axis=1).reshape(processes, groups, streams, 2)
    longest = int(np.diff(ends).max())
    cuts = np.append(np.arange(0, longest, steps, dtype=np.int64), longest)
    return StreamBatches(stream, bounds[process], cuts, process * groups, pad)


def scoring_batches(stream: TokenStream, *, tokens: int, process: int, pad: int) -> StreamBatches:
    """Batches to score: one stream, so that every token has all of its past before it.

    Batches end where a sentence ends, as far as that goes. One stream is read by one process: the
    batches of the others have one row, of padding.

    Args:
        stream: the tokens.
        tokens: at most so many in a batch.
        process: number of this process.
        pad: index of padding.
    """
    bounds = np.array([[[0, len(stream) if process == 0 else 0]]], dtype=np.int64)
    return StreamBatches(stream, bounds, _whole_sentences(stream.ends, tokens), 0, pad)


def _whole_sentences(ends: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Where to cut a stream into parts of at most `limit` tokens; a long sentence is cut too."""
    cuts = [0]
    while cuts[-1] < ends[-1]:
        within = int(np.searchsorted(ends, cuts[-1] + limit, side="right"))
        end = int(ends[within - 1]) if within > 0 else 0
        cuts.append(end if end > cuts[-1] else cuts[-1] + limit)
    return np.array(cuts, dtype=np.int64)
