"""One time step without gradients, as in decoding, in as few calls as possible.

A step of a few sequences takes less time than the checks and the dispatch of a whole layer. So on
the CPU it goes straight to torch's operations. How much faster that is: benchmarks/gains.py.

Shapes: B sequences, I input features, H hidden units, P features of h, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..cells import Cell
from ..cells.precision import widened
from ..cells.rows import inner_bias
from ..recurrence import Parameters, reference
from .types import State

# The C++ kernels are faster where B * H, the size of a state, is at least this (one thread of a Zen
# 5).
LIMIT_WITH_MATRIX = 2048
LIMIT = 32768


def run(
    layers: Sequence[tuple[Cell, Parameters]],
    x: Tensor,
    hx: State,
    drop: Callable[[Tensor], Tensor],
    residuals: bool,
) -> tuple[Tensor, State]:
    """One step of all layers of a `WsumLSTM` with one direction.

    Args:
        layers: each layer's cell and parameters.
        x: the input, 1 x B x I.
        hx: the state, L x B x P and L x B x H.
        drop: the dropout between layers.
        residuals: as in `WsumLSTM`.
    """
    states = []
    of_layers = (part.chunk(len(layers)) for part in hx)
    for k, ((cell, p), h, c) in enumerate(zip(layers, *of_layers, strict=True)):
        below = x
        if k > 0:
            x = drop(x)
        z = reference.input_products(cell, x, p)
        before = widened(h if cell.hidden_is_memory else c)
        h_t, c_t = reference.step(cell, z, p, inner_bias(cell, p.b_hh), h, before)
        x = below + h_t if residuals and k > 0 else h_t
        states.append((h_t, c_t.to(c.dtype) if cell.carries_c else c))
    # also with one layer, so that the state shares no memory with the output or with `hx`
    return x, tuple(torch.cat(part) for part in zip(*states, strict=True))
