"""How the Triton kernels of `recurrence` divide a batch among programs.

Each program owns a tile of sequences and units, and all of them wait for each other after every
time step: see `triton_recurrence`.
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
        """The number of warps of a program.

        On sm_90, tiles of 64 sequences exceed the registers of 4 warps. With the numbers here and
        1024 units, ptxas (of Triton 3.9) spills 16 to 24 bytes of a thread's registers for 64 x 32
        in float32, and 8 or 12 bytes in some kernels for the smaller tiles.
        """
        # In 16 bits, Triton gives the warps of the forward kernel different sequences, 16 each, and
        # those of the backward kernel also different units. So 4 (backward: 2) warps compute the
        # same product for tiles of 16 sequences, and 2 (backward: 1) for tiles of 32. Yet on an
        # H100 tiles of 16 x 16 were slower with 2 warps, and with 8, in the sum of forward and
        # backward (bf16, with the inner block of `tiling_for`; T, B, H = 35, 20, 650 and
        # 64, 64, 512; 2026-11-27).
        return 8 if self.sequences > 32 else 4


# The possible tiles, sequences x units, from the smallest to the largest.
TILES = ((16, 16), (32, 16), (64, 16), (64, 32))


def tiling_for(batch: int, units: int, dtype: torch.dtype, processors: int) -> Tiling:
    """The tiling for a batch: the smallest tiles that all fit on the GPU at once.

    On an H100 in bf16 (2026-11-27) they were the fastest for 64 sequences of 512 units and for 20
    of 650. Other GPUs, sizes and dtypes have not been measured.

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
    count: int = torch.cuda.get_device_properties(device).multi_processor_count
    return count
