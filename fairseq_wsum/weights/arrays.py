"""The numbers of traced sentences as a NumPy file (.npz)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator

import numpy
from numpy.lib import format

from .sentences import Sentence
from .weighted_sum import initial_shares, norms

OF_TRACE = ("input_gates", "forget_gates", "contents", "cells", "outputs")


def add_arrays(file: zipfile.ZipFile, number: int, sentence: Sentence) -> None:
    """Add the numbers of a sentence to an `.npz` file, which is a zip file of arrays.

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
    """
    for name, array in _arrays(sentence):
        with file.open(f"{number}/{name}.npy", "w", force_zip64=True) as entry:
            format.write_array(entry, array, allow_pickle=False)


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
