"""The reference backend: plain torch for any dtype and device. It is the oracle for all others.

Shapes: T time steps, B sequences, I input features, H hidden units, P features of h (P = H
without a projection).

Everything that does not depend on h_{t-1} is computed for all time steps at once. So the time loop
of a gated sum contains no matrix products, only the memory cell's c_t = u_t + f_t * c_{t-1}.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cells import Cell, Rows
from ..cells.cell import memory
from ..cells.rows import split


def why_not(cell: Cell, device: torch.device, dtype: torch.dtype, projects: bool) -> str | None:
    """The reference backend supports everything."""
    return None


def run(
    cell: Cell,
    z: Tensor,
    w_hh: Tensor | None,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    v: Rows,
    h_0: Tensor,
    c_0: Tensor,
    padding_mask: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one direction of one layer over a sequence.

    A matrix has one block of H output features for each row of the cell (`Cell.rows`,
    `Cell.hidden_rows`), in the layout of `torch.nn.LSTM`.

    Args:
        cell: the cell to run.
        z: the pre-activations from the input, W_*x x_t + b_*, T x B x rows*H with T > 0. Values at
            padding must be finite.
        w_hh: W_*h, hidden_rows*H x P; None if no row depends on h_{t-1}.
        b_hh: the bias added to W_*h h_{t-1}, hidden_rows*H; None if the cell has no
            `inner_bias_rows`.
        w_hr: the projection of LSTMP, P x H; None without a projection, and then P = H.
        v: the cell's vectors by name, H each.
        h_0: initial hidden state, B x P.
        c_0: initial memory cell, B x H.
        padding_mask: True at padding, T x B. At padding the state is kept and the output is zero.
        reverse: run from the last time step to the first.

    Returns:
        The output (T x B x P), and the state after the last time step that is not padding: h
        (B x P) and c (B x H). h has the dtype of `z`, and c has the dtype of `c_0`. Within the
        sequence the memory cell is computed in at least 32 bits, because a long sum in 16 bits
        would lose small late contributions.
    """
    h_0, c = h_0.to(z.dtype), c_0.to(torch.promote_types(c_0.dtype, torch.float32))
    if cell.is_gated_sum:
        y, h_n, c_n = _run_parallel(cell, z, w_hr, h_0, c, padding_mask, reverse)
    else:
        y, h_n, c_n = _run_steps(cell, z, w_hh, b_hh, w_hr, v, h_0, c, padding_mask, reverse)
    return y, h_n, c_n.to(c_0.dtype)


def _run_steps(
    cell: Cell,
    z: Tensor,
    w_hh: Tensor | None,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    v: Rows,
    h: Tensor,
    c: Tensor,
    padding_mask: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run time step by time step, with the product with h_{t-1} in each."""
    assert (w_hh is not None) == cell.is_recurrent
    z_steps = z.unbind()
    outputs: list[Tensor] = []
    for t in _order(len(z_steps), reverse):
        from_x = split(cell.rows, z_steps[t])
        from_h = {} if w_hh is None else split(cell.hidden_rows, F.linear(h, w_hh, b_hh))
        h_t, c_t = cell.step(cell.preactivations(from_x, from_h, c, v), c)
        h_t = _project(h_t.to(z.dtype), w_hr)
        if padding_mask is not None:
            stay = padding_mask[t].unsqueeze(-1)  # B x 1
            h_t, c_t = torch.where(stay, h, h_t), torch.where(stay, c, c_t)
        h, c = h_t, c_t
        outputs.append(h)
    y = _stack(outputs, reverse)
    if padding_mask is not None:
        y = y.masked_fill(padding_mask.unsqueeze(-1), 0)
    return y, h, c


def _run_parallel(
    cell: Cell,
    z: Tensor,
    w_hr: Tensor | None,
    h_0: Tensor,
    c: Tensor,
    padding_mask: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute all time steps at once, except for the weighted sum in the memory cell."""
    z_all = split(cell.rows, z)
    i, f = cell.gates(z_all)
    u = i * cell.content(z_all)
    if padding_mask is not None:
        padded = padding_mask.unsqueeze(-1)
        u, f = u.masked_fill(padded, 0), f.masked_fill(padded, 1)

    u_steps, f_steps = u.unbind(), f.unbind()
    cells: list[Tensor] = []
    for t in _order(len(u_steps), reverse):
        c = memory(u_steps[t], f_steps[t], c)
        cells.append(c)

    y = cell.output(z_all, _stack(cells, reverse))
    y = _project(y.to(z.dtype), w_hr)
    if padding_mask is None:
        return y, y[0 if reverse else -1], c
    h = last_real_step(y, h_0, padding_mask, reverse)
    return y.masked_fill(padded, 0), h, c


def last_real_step(y: Tensor, h_0: Tensor, padding_mask: Tensor, reverse: bool) -> Tensor:
    """The output (B x P) at the end of each sequence; `h_0` for sequences that are all padding."""
    n = y.size(0)
    steps = torch.arange(n, device=y.device).unsqueeze(-1)  # T x 1
    if reverse:
        last = steps.masked_fill(padding_mask, n).amin(0)
    else:
        last = steps.masked_fill(padding_mask, -1).amax(0)
    index = last.clamp(0, n - 1).view(1, -1, 1).expand(1, -1, y.size(-1))
    none = padding_mask.all(0).unsqueeze(-1)
    return torch.where(none, h_0, y.gather(0, index).squeeze(0))


def _project(h: Tensor, w_hr: Tensor | None) -> Tensor:
    return h if w_hr is None else F.linear(h, w_hr)


def _order(n: int, reverse: bool) -> range:
    return range(n - 1, -1, -1) if reverse else range(n)


def _stack(steps: list[Tensor], reverse: bool) -> Tensor:
    """Stack steps computed in the order of `_order` into a T x B x H tensor in order of time."""
    return torch.stack(steps[::-1] if reverse else steps)
