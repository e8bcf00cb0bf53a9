"""The cells of the kernel `triton.memory_cell`: for each, the functions of its equations.

    activate(z, H, live, PARTS)   f_t and u_t of c_t = f_t c_{t-1} + u_t, and what else of the
                                  activated rows the other functions read: a tuple, r. Where `live`
                                  is False, the pre-activations count as 0. The kernels load u_t of
                                  the scan.
    output(r, c, PARTS)           h_t
    slope(r, c, PARTS)            the derivative of h_t by c_t
    store_gradients(dz, r, c_prev, c, dh, dc, H, live, inside, PARTS)
                                  stores the gradients of the pre-activations, 0 where `live` is
                                  False

`z` and `dz` point to a tile of the first row; rows are H elements apart. PARTS has the parts of an
LSTM, the bits of `problem`: 1 for the S-RNN, 2 for the output gate, 16 for coupled gates. The
equations are those of the files in `cells`.
"""

# Triton gives the arguments of its functions their types.
# mypy: allow-untyped-defs

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from ...cells import LSTM, QRNN, Cell, MinGRU, MinLSTM
from .. import problem


@triton.jit
def sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):
    # use the Taylor series near 0, where 1 - 2 / (e^2x + 1) loses precision
    s = x * x
    near = x * (1.0 + s * (-0.33333333 + s * (0.13333333 - s * 0.053968254)))
    far = 1.0 - 2.0 / (tl.exp(2.0 * tl.minimum(tl.maximum(x, -15.0), 15.0)) + 1.0)
    return tl.where(s < 0.01, near, tl.where(x != x, x, far))


@triton.jit
def load(ptr, mask):
    return tl.load(ptr, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store(ptr, gradient, live, inside):
    tl.store(ptr, tl.where(live, gradient, 0.0), mask=inside)


# The LSTM and its ablations


@triton.jit
def _lstm(z, H: tl.constexpr, live, PARTS: tl.constexpr):
    COUPLED: tl.constexpr = PARTS & 16 > 0
    i = sigmoid(load(z, live))
    f = 1.0 - i if COUPLED else sigmoid(load(z + H, live))
    content = load(z + (2 - COUPLED) * H, live)
    if PARTS & 1:
        content = tanh(content)
    o = tl.full(i.shape, 1.0, tl.float32)
    if PARTS & 2:
        o = sigmoid(load(z + (3 - COUPLED) * H, live))
    return f, i * content, i, content, o


@triton.jit
def _lstm_output(r, c, PARTS: tl.constexpr):
    return r[4] * tanh(c)


@triton.jit
def _lstm_slope(r, c, PARTS: tl.constexpr):
    tanh_c = tanh(c)
    return r[4] * (1.0 - tanh_c * tanh_c)


@triton.jit
def _store_lstm(dz, r, c_prev, c, dh, dc, H: tl.constexpr, live, inside, PARTS: tl.constexpr):
    COUPLED: tl.constexpr = PARTS & 16 > 0
    f, _, i, content, o = r
    d_f = dc * c_prev * f * (1.0 - f)
    d_i = dc * content * i * (1.0 - i)
    _store(dz, d_i - d_f if COUPLED else d_i, live, inside)
    if not COUPLED:
        _store(dz + H, d_f, live, inside)
    d_content = dc * i
    if PARTS & 1:
        d_content *= 1.0 - content * content
    _store(dz + (2 - COUPLED) * H, d_content, live, inside)
    if PARTS & 2:
        _store(dz + (3 - COUPLED) * H, dh * tanh(c) * o * (1.0 - o), live, inside)


# Cells whose h_t is c_t


@triton.jit
def _memory(r, c, PARTS: tl.constexpr):
    return c


@triton.jit
def _one(r, c, PARTS: tl.constexpr):
    return tl.full(c.shape, 1.0, tl.float32)


@triton.jit
def _mingru(z, H: tl.constexpr, live, PARTS: tl.constexpr):
    i, content = sigmoid(load(z, live)), load(z + H, live)
    return 1.0 - i, i * content, i, content


@triton.jit
def _store_mingru(dz, r, c_prev, c, dh, dc, H: tl.constexpr, live, inside, PARTS: tl.constexpr):
    f, _, i, content = r
    _store(dz, dc * (content - c_prev) * i * f, live, inside)
    _store(dz + H, dc * i, live, inside)


@triton.jit
def _log_sigmoid(x):
    return tl.minimum(x, 0.0) - tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit
def _minlstm(z, H: tl.constexpr, live, PARTS: tl.constexpr):
    z_f, z_i, content = load(z, live), load(z + H, live), load(z + 2 * H, live)
    more = _log_sigmoid(z_f) - _log_sigmoid(z_i)  # log(f_t / i_t)
    i = sigmoid(-more)
    return sigmoid(more), i * content, i, content, z_f, z_i


@triton.jit
def _store_minlstm(dz, r, c_prev, c, dh, dc, H: tl.constexpr, live, inside, PARTS: tl.constexpr):
    f, _, i, content, z_f, z_i = r
    slope = dc * (c_prev - content) * f * i  # the gradient of log(f_t / i_t)
    _store(dz, slope * sigmoid(-z_f), live, inside)
    _store(dz + H, -slope * sigmoid(-z_i), live, inside)
    _store(dz + 2 * H, dc * i, live, inside)


@triton.jit
def _scan(z, H: tl.constexpr, live, PARTS: tl.constexpr):
    return (load(z, live),)


@triton.jit
def _store_scan(dz, r, c_prev, c, dh, dc, H: tl.constexpr, live, inside, PARTS: tl.constexpr):
    _store(dz, dc * c_prev, live, inside)


# The QRNN


@triton.jit
def _qrnn(z, H: tl.constexpr, live, PARTS: tl.constexpr):
    content, f, o = tanh(load(z, live)), sigmoid(load(z + H, live)), sigmoid(load(z + 2 * H, live))
    return f, (1.0 - f) * content, content, o


@triton.jit
def _qrnn_output(r, c, PARTS: tl.constexpr):
    return r[3] * c


@triton.jit
def _qrnn_slope(r, c, PARTS: tl.constexpr):
    return r[3]


@triton.jit
def _store_qrnn(dz, r, c_prev, c, dh, dc, H: tl.constexpr, live, inside, PARTS: tl.constexpr):
    f, _, content, o = r
    _store(dz, dc * (1.0 - f) * (1.0 - content * content), live, inside)
    _store(dz + H, dc * (c_prev - content) * f * (1.0 - f), live, inside)
    _store(dz + 2 * H, dh * c * o * (1.0 - o), live, inside)


class Equations(NamedTuple):
    """The functions of a cell."""

    ACTIVATE: Any
    OUTPUT: Any
    SLOPE: Any
    STORE_GRADIENTS: Any


EQUATIONS: dict[type[Cell], Equations] = {
    LSTM: Equations(_lstm, _lstm_output, _lstm_slope, _store_lstm),
    MinGRU: Equations(_mingru, _memory, _one, _store_mingru),
    MinLSTM: Equations(_minlstm, _memory, _one, _store_minlstm),
    QRNN: Equations(_qrnn, _qrnn_output, _qrnn_slope, _store_qrnn),
    problem.Scan: Equations(_scan, _memory, _one, _store_scan),
}
