"""One time step without gradients, as in decoding, in as few calls as possible.

A step of a few sequences takes less time than the checks and the dispatch of a whole layer. So on
the CPU it goes straight to torch's operations. Translating sentence by sentence is 1.17 times as
fast with it in a Transformer of gated sums, and 1.06 times in an LSTM (benchmarks/gains.py).

Shapes: B sequences, I input features, H hidden units, P features of h, L layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..backends import Parameters, reference
from ..cells.precision import wide, widened
from ..cells.rows import inner_bias
from ..ops.transforms import in_autocast
from .types import State

if TYPE_CHECKING:
    from .wsum_lstm import WsumLSTM

# From these sizes of a state, B * H, on the C++ kernels are faster. (Measured on one thread of a
# Zen 5. The two differ by about a tenth there.)
LARGE_WITH_RECURRENT_MATRIX = 2048
LARGE = 32768


def suits(layer: WsumLSTM, x: Tensor, hx: State) -> bool:
    """Whether `run` supports this call; no for invalid arguments, which `forward` then reports."""
    weight = layer.weight_ih_l0
    large = LARGE_WITH_RECURRENT_MATRIX if layer.cell.has_recurrent_matrix else LARGE
    return (
        not torch.compiler.is_compiling()  # it has no calls to save, and would fix the batch size
        and isinstance(hx, (tuple, list))
        and len(hx) == 2
        and isinstance(hx[0], Tensor)
        and isinstance(hx[1], Tensor)
        and x.dim() == 3
        and x.size(0) == 1
        and x.is_cpu
        and weight.is_cpu
        and hx[0].is_cpu
        and hx[1].is_cpu
        and x.size(1) * layer.hidden_size < large
        and not (layer.batch_first or layer.bidirectional or layer.training)
        and layer.backend == "auto"
        and layer.cell.window == 1
        and x.size(2) == layer.input_size
        and x.dtype == hx[0].dtype == weight.dtype
        and hx[1].dtype in (weight.dtype, wide(weight.dtype))
        and hx[0].shape == (layer.num_layers, x.size(1), layer.output_size)
        and hx[1].shape == (layer.num_layers, x.size(1), layer.hidden_size)
        and not in_autocast(x.device)
    )


def run(layer: WsumLSTM, x: Tensor, hx: State) -> tuple[Tensor, State]:
    """`layer(x, hx)` if `suits` accepts it: x is 1 x B x I, hx is L x B x P and L x B x H."""
    states = []
    of_layers = (part.chunk(layer.num_layers) for part in hx)
    for k, (h, c) in enumerate(zip(*of_layers, strict=True)):
        cell, below = layer.layer_cell(k), x
        p = Parameters.from_names(cell, layer.layer_parameters(k))
        if k > 0:
            x = layer.drop(x)
        z = reference.input_products(cell, x, p)
        before = widened(h if cell.hidden_is_memory else c)
        h, c_t = reference.step(cell, z, p, inner_bias(cell, p.b_hh), h, before)
        x = below + h if layer.residuals and k > 0 else h
        states.append((h, c_t.to(c.dtype) if cell.carries_c else c))
    # also with one layer, so that the state shares no memory with the output or with `hx`
    return x, tuple(torch.cat(part) for part in zip(*states, strict=True))
