"""The numbers of traced sentences as a NumPy file (.npz)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy
from numpy.lib import format

from .sentences import Sentence
from .weighted_sum import initial_shares, norms

OF_TRACE = ("input_gates", "forget_gates", "contents", "cells", "outputs")


class Arrays:
    """Writes sentence after sentence, so that host memory does not grow with their number.

    With `numpy.load(FILE)` the names are, for sentence 0 and layer 1 of the encoder (T time steps,
    H units, P features, S source and N target tokens):

        0/source, 0/target                    tokens, S and N
        0/attention                           attention weights, N x S
        0/encoder/1/tokens                    the tokens that the layer reads, T
        0/encoder/1/forward/norms             L2 norms of w^t_j, t x j
        0/encoder/1/forward/input_gates       i_t, T x H
        0/encoder/1/forward/forget_gates      f_t, T x H
        0/encoder/1/forward/contents          g_t, T x H
        0/encoder/1/forward/cells             c_t, T x H
        0/encoder/1/forward/outputs           h_t, T x P
        0/encoder/1/forward/initial_shares    the weights of the initial memory cell, T x H
        0/encoder/1/forward/initial_cell      c_0, H

    and the same for `backward`. What a model does not have is missing.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self._count = 0

    def __enter__(self) -> Arrays:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, sentence: Sentence) -> None:
        """Write one sentence, whose traces must be on the CPU and need no gradient."""
        for name, array in _arrays(sentence):
            with self._file.open(f"{self._count}/{name}.npy", "w", force_zip64=True) as file:
                format.write_array(file, array, allow_pickle=False)
        self._count += 1


def _arrays(sentence: Sentence) -> Iterator[tuple[str, numpy.ndarray]]:
    if sentence.source is not None:
        yield "source", numpy.array(sentence.source.tokens)
    yield "target", numpy.array(sentence.target.tokens)
    if sentence.attention is not None:
        yield "attention", sentence.attention.numpy()
    for view in sentence.views:
        yield f"{view.side}/{view.layer}/tokens", numpy.array(view.text.tokens)
        for trace in view.directions:
            place = f"{view.side}/{view.layer}/{trace.direction}"
            yield f"{place}/norms", norms(trace)[..., 0].numpy()
            for name in OF_TRACE:
                yield f"{place}/{name}", getattr(trace, name)[:, 0].numpy()
            yield f"{place}/initial_shares", initial_shares(trace)[:, 0].numpy()
            yield f"{place}/initial_cell", trace.c_0[0].numpy()
