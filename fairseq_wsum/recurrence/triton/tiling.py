"""How the Triton kernels of `recurrence` divide a batch among programs.

Each program owns a tile of sequences and units, and all of them wait for each other after every
time step: see `triton.recurrence`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch


class Tiling(NamedTuple):
    """How the kernels of `recurrence` divide a batch among programs.

    Args:
        sequences, units: size of a program's tile.
        inner: block size of the inner dimension of a matrix product.
        together: run all steps in one launch; all programs must fit on the GPU at the same time.
    """

    sequences: int
    units: int
    inner: int
    together: bool

    @property
    def warps(self) -> int:
        """The number of warps of a program. Tiles of 64 sequences exceed the registers of 4."""
        return 8 if self.sequences > 32 else 4


# The possible tiles, sequences x units, from the smallest to the largest.
TILES = ((16, 16), (32, 16), (64, 16), (64, 32))


def tiling_for(batch: int, units: int, dtype: torch.dtype, processors: int) -> Tiling:
    """The tiling for a batch: the smallest tiles that all fit on the GPU at once.

    Args:
        batch, units: B and H.
        dtype: dtype of the matrices.
        processors: number of multiprocessors of the GPU; each can hold at least one program.
    """
    most = max(16, 2 ** math.ceil(math.log2(batch)))
    for sequences, tile in TILES:
        sequences = min(sequences, most)
        programs = math.ceil(batch / sequences) * math.ceil(units / tile)
        inner = _inner(units, tile, dtype)
        if programs <= processors:
            return Tiling(sequences, tile, inner, together=True)
    return Tiling(sequences, tile, inner, together=False)


def _inner(units: int, tile: int, dtype: torch.dtype) -> int:
    """The block size of the inner dimension H of the forward pass, in elements.

    A block has 256 bytes of a row, or 128 if that leaves less of the last block unused, or if the
    tile is so large that blocks read ahead would exceed the 99 KB of shared memory of some GPUs.
    """
    small = 128 // dtype.itemsize
    wasted = {block: -units % block for block in (2 * small, small)}
    return small if tile > 16 else min(wasted, key=lambda block: wasted[block])


def processors_of(device: torch.device) -> int:
    """The number of multiprocessors of a GPU; 0 for another device."""
    if device.type != "cuda":
        return 0  # the interpreter runs programs sequentially, so they cannot wait for each other
    return torch.cuda.get_device_properties(device).multi_processor_count
