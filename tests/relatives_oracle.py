"""The equations of the LSTM's relatives, one step at a time, written from their papers.

`x` is one sequence, T x I; `h` and `c` are the initial state, H each. The parameters are looked up
by their names in `p`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, sigmoid, tanh

from fairseq_wsum.cells import SRU, Cell

Result = tuple[Tensor, Tensor, Tensor]  # outputs, and the final h and c
Parameters = Mapping[str, Tensor]


def gru(cell: Cell, p: Parameters, x: Tensor, h: Tensor, c: Tensor) -> Result:
    """Cho et al. (2014), as `torch.nn.GRU` documents it. c is returned as it is."""
    w_ir, w_iz, w_in = p["weight_ih"].chunk(3)
    w_hr, w_hz, w_hn = p["weight_hh"].chunk(3)
    b_ir, b_iz, b_in = bias(p, "bias_ih", 3)
    b_hr, b_hz, b_hn = bias(p, "bias_hh", 3)
    outputs = []
    for x_t in x:
        r = sigmoid(w_ir @ x_t + b_ir + w_hr @ h + b_hr)
        z = sigmoid(w_iz @ x_t + b_iz + w_hz @ h + b_hz)
        n = tanh(w_in @ x_t + b_in + r * (w_hn @ h + b_hn))
        h = (1 - z) * n + z * h
        outputs.append(h)
    return torch.stack(outputs), h, c


def mingru(cell: Cell, p: Parameters, x: Tensor, h: Tensor, c: Tensor) -> Result:
    """Feng et al. (2024), section 3.1. c is returned as it is."""
    w_z, w_h = p["weight_ih"].chunk(2)
    b_z, b_h = bias(p, "bias_ih", 2)
    outputs = []
    for x_t in x:
        z = sigmoid(w_z @ x_t + b_z)
        h = (1 - z) * h + z * (w_h @ x_t + b_h)
        outputs.append(h)
    return torch.stack(outputs), h, c


def minlstm(cell: Cell, p: Parameters, x: Tensor, h: Tensor, c: Tensor) -> Result:
    """Feng et al. (2024), section 3.2. c is returned as it is."""
    w_f, w_i, w_h = p["weight_ih"].chunk(3)
    b_f, b_i, b_h = bias(p, "bias_ih", 3)
    outputs = []
    for x_t in x:
        f, i = sigmoid(w_f @ x_t + b_f), sigmoid(w_i @ x_t + b_i)
        h = f / (f + i) * h + i / (f + i) * (w_h @ x_t + b_h)
        outputs.append(h)
    return torch.stack(outputs), h, c


def qrnn(
    cell: Cell, p: Parameters, x: Tensor, h: Tensor, c: Tensor, before: Tensor | None = None
) -> Result:
    """Bradbury et al. (2017), fo-pooling. `before` is the input before the first, I; zero if None.

    The convolution reads x_t and, with a window of 2, x_{t-1}.
    """
    w_z, w_f, w_o = p["weight_ih"].chunk(3)
    b_z, b_f, b_o = bias(p, "bias_ih", 3)
    last = torch.zeros_like(x[0]) if before is None else before
    outputs = []
    for x_t in x:
        read = x_t if cell.window == 1 else torch.cat((x_t, last))
        z, f, o = tanh(w_z @ read + b_z), sigmoid(w_f @ read + b_f), sigmoid(w_o @ read + b_o)
        c = f * c + (1 - f) * z
        outputs.append(o * c)
        last = x_t
    return project(p, outputs, c)


def sru(cell: Cell, p: Parameters, x: Tensor, h: Tensor, c: Tensor) -> Result:
    """Lei et al. (2018), equations of section 2 and, for alpha, section 3.2.

    The input of the highway connection is alpha x, or W' x where the sizes differ.
    """
    assert isinstance(cell, SRU)
    units = len(c)
    w, w_f, w_r, *w_x = p["weight_ih"].split(units)
    b_f, b_r = bias(p, "bias_ih", 2)
    alpha = (1 + 2 * torch.tensor(float(cell.highway_bias)).exp().item()) ** 0.5
    outputs = []
    for x_t in x:
        f = sigmoid(w_f @ x_t + p["v_f"] * c + b_f)
        r = sigmoid(w_r @ x_t + p["v_r"] * c + b_r)
        c = f * c + (1 - f) * (w @ x_t)
        skipped = w_x[0] @ x_t if w_x else alpha * x_t
        h = r * c + (1 - r) * skipped
        outputs.append(h)
    return torch.stack(outputs), h, c


def bias(p: Parameters, name: str, parts: int) -> tuple[Tensor | float, ...]:
    return p[name].chunk(parts) if name in p else (0.0,) * parts


def project(p: Parameters, outputs: list[Tensor], c: Tensor) -> Result:
    y = torch.stack(outputs)
    if "weight_hr" in p:
        y = y @ p["weight_hr"].t()
    return y, y[-1], c


RELATIVES = {"gru": gru, "mingru": mingru, "minlstm": minlstm, "qrnn": qrnn, "sru": sru}
