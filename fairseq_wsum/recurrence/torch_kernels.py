"""The torch backend: torch's own recurrent kernels, oneDNN on CPUs and cuDNN on GPUs.

It runs the cells that torch has, `lstm`, `no-gates` and `gru`, with the functions that
`torch.nn.LSTM`, `RNN` and `GRU` call. Like those, it keeps the memory cell of a 16-bit layer in 16
bits from step to step, where the other backends keep 32: a sum of thousands of small contributions
stops growing early.

Shapes: T time steps, B sequences, I input features, H hidden units, P features of h.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cells import GRU, LSTM, Cell, SimpleRNN
from ..transforms import in_transformation, product_dtype, without_autocast
from . import problem
from .padding import last_step, zero_at_padding
from .parameters import Inputs, Results

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

_FLAGS = 8  # copies of the flag in `_freeze`: GPUs are slow unless the width is a multiple of 8


def why_not(cell: Cell, device: torch.device, dtype: torch.dtype, projects: bool) -> str | None:
    """Why torch's kernels do not support this cell, device or dtype, or None if they do."""
    function = _function_of(cell)
    if function is None:
        return f"it has torch's kernels for lstm, no-gates and gru, not for {cell.label}"
    if projects and function != "lstm":
        return f"it supports a projection for lstm only, not for {cell.label}"
    if device.type not in ("cpu", "cuda"):
        return f"it runs on CPUs and on GPUs of the type cuda, and the layer is on {device}"
    if dtype not in DTYPES:
        return f"it computes in float32, float64, bfloat16 and float16, not in {dtype}"
    if torch.compiler.is_compiling():
        # torch leaves its modules out, too (torch._dynamo.config.allow_rnn); gradients can fail
        return "torch.compile does not trace torch's recurrent kernels"
    # torch.func.grad works, but vmap fails in all of these kernels, and jvp in those of oneDNN
    return problem.NOT_TRANSFORMED if in_transformation() else None


def _function_of(cell: Cell) -> str | None:
    """The name of torch's function for a cell, or None. A subclass may have other equations."""
    if type(cell) is LSTM:
        parts = (cell.srnn, cell.output_gate, cell.recurrent_gates, not cell.coupled_gates)
        return "lstm" if all(parts) else None
    return {SimpleRNN: "rnn_tanh", GRU: "gru"}.get(type(cell))


def why_not_auto(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why `auto` takes another backend on a device in a dtype, or None if it may take this one."""
    if dtype == torch.float64:
        # People check results and second derivatives in float64, and cuDNN has only first ones.
        return "float64 is left to the reference, which has all derivatives"
    if dtype == torch.float16 and device.type == "cpu":
        # It works, but without oneDNN (torch 2.13), hardly faster than the reference backend.
        return "float16 on a CPU is left to the reference, whose memory cell has 32 bits"
    return None


def run(given: Inputs) -> Results:
    """Run one direction of one layer over a sequence: see `reference.run`.

    It differs from the reference in the dtype of the memory cell between two steps, as described
    at the top. A second derivative exists on CPUs only; on GPUs cuDNN raises an error.
    """
    cell, x, p, h_0, c_0, padding_mask, reverse = given
    dtype = product_dtype(x, p.w_ih)
    x, h_0 = x.to(dtype), h_0.to(dtype)
    b_hh = p.b_hh
    if b_hh is None and p.b_ih is not None:  # torch's functions take two biases
        b_hh = torch.zeros_like(p.b_ih)
    parameters = (p.w_ih, p.w_hh, p.b_ih, b_hh, p.w_hr)
    weights = [weight.to(dtype) for weight in parameters if weight is not None]
    function = _function_of(cell)
    assert function is not None  # see `why_not`
    state = (h_0, c_0.to(dtype)) if function == "lstm" else (h_0,)

    order = None
    if padding_mask is not None:
        order = _unpadded_first(padding_mask, reverse)
        if function == "lstm":
            x, weights[0] = _freeze(x, weights[0], padding_mask)
        x = x.flatten(0, 1).index_select(0, order).view_as(x)
    elif reverse:
        x = x.flip(0)

    # every tensor has its dtype already, so autocast has nothing left to choose
    with without_autocast(x.device):
        y, h_n, *c_n = _call(function, x, state, weights, p.b_ih is not None)

    if order is not None:  # there is a mask
        y = y.flatten(0, 1).index_select(0, order.argsort()).view_as(y)
        y = zero_at_padding(y, padding_mask)
        h_n = last_step(y, h_0, padding_mask, reverse)
    elif reverse:
        y = y.flip(0)
    if not cell.has_memory:
        return y, h_n, c_0
    last = (c_n[0] if c_n else h_n).to(c_0.dtype)
    if padding_mask is not None:  # `c_0` may have more bits than the kernels kept of it
        last = torch.where(padding_mask.all(0).unsqueeze(-1), c_0, last)
    return y, h_n, last


def _call(
    function: str, x: Tensor, state: tuple[Tensor, ...], weights: list[Tensor], has_biases: bool
) -> tuple[Tensor, ...]:
    """Call torch for one layer, one direction and no mask; returns y and the parts of the state."""
    if x.device.type == "cuda":
        has_projection = len(weights) % 2 == 1
        if len(x) == 1 and not has_projection:
            return _step(function, x, state, weights, has_biases)
        if not has_projection:  # for which cuDNN has another order, in which torch copies them
            weights = _in_one_piece(weights, has_biases)
    parts = tuple(part.unsqueeze(0).contiguous() for part in state)  # cuDNN rejects others
    hx: Any = parts if len(parts) > 1 else parts[0]
    # cuDNN computes no gradients without `train`, whatever the mode of the layer
    layers, dropout, train = 1, 0.0, torch.is_grad_enabled()
    bidirectional = batch_first = False
    y, *final = getattr(torch, function)(
        x, hx, weights, has_biases, layers, dropout, train, bidirectional, batch_first
    )
    return y, *(part.squeeze(0) for part in final)


def _step(
    function: str, x: Tensor, state: tuple[Tensor, ...], weights: list[Tensor], has_biases: bool
) -> tuple[Tensor, ...]:
    """`_call` for one time step, with the kernels of `nn.LSTMCell`, `RNNCell` and `GRUCell`.

    cuDNN reads all weights from one array, and keeps it for the gradient. A decoder with input
    feeding runs step by step, and would keep a copy of its weights for each target position.
    """
    hx: Any = state if len(state) > 1 else state[0]
    biases = weights[2:] if has_biases else (None, None)
    found = getattr(torch, f"{function}_cell")(x.squeeze(0), hx, *weights[:2], *biases)
    h, *c = found if isinstance(found, tuple) else (found,)
    return h.unsqueeze(0), h, *c


def _in_one_piece(weights: list[Tensor], has_biases: bool) -> list[Tensor]:
    """Copy the weights of a layer into one array, as `nn.LSTM.flatten_parameters` lays them out.

    Otherwise torch makes this copy itself, with a warning. The array always has both biases; those
    of a layer without biases are zero.
    """
    zeros = [] if has_biases else [weights[0].new_zeros(weights[0].size(0)) for _ in range(2)]
    parts = [*weights[:2], *zeros, *weights[2:]]
    flat = torch.cat([part.flatten() for part in parts])
    pieces = flat.split([part.numel() for part in parts])
    views = [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]
    return views if has_biases else views[:2]


def _unpadded_first(padding_mask: Tensor, reverse: bool) -> Tensor:
    """For every step of the kernels, the row of the flattened input that it reads, T*B.

    The kernels run forwards and without a mask. So each sequence starts with its unpadded steps, in
    the order in which they are run, and its padding follows.
    """
    time, batch = padding_mask.shape
    padding = padding_mask.flip(0) if reverse else padding_mask
    steps = padding.to(torch.uint8).argsort(dim=0, stable=True)
    steps = time - 1 - steps if reverse else steps
    return (steps * batch + torch.arange(batch, device=steps.device)).flatten()


def _freeze(x: Tensor, w_ih: Tensor, padding_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Make padding keep the memory cell of an LSTM: i_t = 0 and f_t = 1, exactly.

    torch has no mask for this. Packed sequences would do the same, but on a CPU they run without
    oneDNN and take O(T^2) time for gradients, and on a GPU they wait for the lengths. So the input
    gets a flag that is 1 at padding, whose weights overrule all others in the two gates. The other
    gates are free, as outputs at padding are not used. All gradients are those of unpadded
    steps.

    Args:
        x: the input, T x B x I, zero at padding.
        w_ih: W_*x, 4*H x I.
        padding_mask: True at padding, T x B.

    Returns:
        The input and W_*x with further columns for the flag.
    """
    units = w_ih.size(0) // 4
    large = min(torch.finfo(x.dtype).max / 16, 1e18)  # the sum of all copies must be finite
    gate = w_ih.new_full((units, _FLAGS), large)
    weights = F.pad(torch.cat((-gate, gate)), (0, 0, 0, 2 * units))  # rows i, f, c, o
    flags = padding_mask.unsqueeze(-1).expand(-1, -1, _FLAGS).to(x.dtype)
    return torch.cat((x, flags), dim=-1), torch.cat((w_ih, weights), dim=-1)
