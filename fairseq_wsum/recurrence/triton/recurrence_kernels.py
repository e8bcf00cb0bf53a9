"""Triton kernels for cells with a recurrent matrix: each step has the product with h_{t-1}.

Each program owns a tile of sequences and units. It computes all rows of that tile, so that gates
and content are combined in registers. A step of one tile needs the previous step of all tiles of
the same sequences. If all programs fit on the GPU at the same time, a single launch runs the whole
sequence with a barrier after every step; otherwise every step is a separate launch. Inputs that do
not depend on the previous step are loaded before the barrier.

The backward pass reads the gates and the content of each step. In 16 bits a gate near 1 would be
rounded to 1 and lose its gradient. Therefore 16-bit `saved` holds the complete pre-activations, and
the backward pass activates them again. A cell without gates saves only h_t.

The memory cell is float32 and stays with its program. Sequence length and batch size are run-time
values, so that new sizes need no compilation. The number of units is a compile-time constant,
because Triton derives the width of vectorised accesses from it and prefetches no 16-bit data
without it.

Shapes: z is T x B x R*H, with the rows of the cell in the order i f c o; w is Q*H x H, with the
rows that depend on h_{t-1}; all other tensors are T x B x H or B x H.
"""

# Triton gives the arguments of its functions their types.
# mypy: allow-untyped-defs

from __future__ import annotations

import triton
import triton.language as tl

from .cells import load, sigmoid, tanh

# New values of these need no compilation, as in `triton.memory_cell`.
RUN_TIME_VALUES = ("T", "B", "first", "last")


@triton.jit
def _arrive(counter_ptr):
    """Signal the other programs that this program has written its tile of a step."""
    tl.debug_barrier()
    tl.atomic_add(counter_ptr, 1, sem="release")


@triton.jit
def _wait(counter_ptr, target):
    """Wait until `_arrive` has been called `target` times since the launch.

    The acquire semantics make the other programs' writes visible here, even if the L1 cache of this
    program holds older values.
    """
    while tl.atomic_add(counter_ptr, 0, sem="acquire") < target:
        pass
    tl.debug_barrier()


@triton.jit
def _from_others(ptr, mask):
    """Load what other programs have just written, bypassing the L1 cache for 16-byte accesses."""
    return tl.load(ptr, mask=mask, other=0.0, cache_modifier=".cg")


@triton.jit
def _row(z, X: tl.constexpr, H: tl.constexpr, tile, BM: tl.constexpr, BN: tl.constexpr):
    """Row X of the pre-activations from x_t, or zeros if the cell does not have it."""
    sums = tl.zeros((BM, BN), tl.float32)
    if X >= 0:
        sums = load(z + X * H, tile)
    return sums


@triton.jit
def _gate(row, live, ACTIVATED: tl.constexpr):
    """A gate from what was saved; where `live` is False, it has no meaning."""
    gate = load(row, live)
    if not ACTIVATED:
        gate = sigmoid(gate)
    return gate


@triton.jit
def _add_product(
    sums, h, w_ptr, ROW: tl.constexpr, H: tl.constexpr, there, PRECISION: tl.constexpr
):
    """Add h w to `sums`, where w is row ROW of W_*h, if the cell has that row."""
    if ROW >= 0:
        w = tl.load(w_ptr + ROW * H * H, mask=there, other=0.0)
        sums = tl.dot(h, w, sums, input_precision=PRECISION)
    return sums


@triton.jit
def _add_hidden(
    z_i, z_f, z_c, z_o, h_ptr, w_ptr,
    H_I: tl.constexpr, H_F: tl.constexpr, H_C: tl.constexpr, H_O: tl.constexpr,
    H: tl.constexpr, m, n, sequences, units, BK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add W_*h h_{t-1} to the hidden rows of z. One loop serves all rows and loads h_{t-1} once."""
    h_rows, w_rows = h_ptr + m.to(tl.int64)[:, None] * H, w_ptr + n.to(tl.int64)[None, :] * H
    for k_first in range(0, H, BK):
        k = k_first + tl.arange(0, BK)
        h = _from_others(h_rows + k[None, :], sequences[:, None] & (k < H)[None, :])
        w = w_rows + k[:, None]
        there = (k < H)[:, None] & units[None, :]
        z_i = _add_product(z_i, h, w, H_I, H, there, PRECISION)
        z_f = _add_product(z_f, h, w, H_F, H, there, PRECISION)
        z_c = _add_product(z_c, h, w, H_C, H, there, PRECISION)
        z_o = _add_product(z_o, h, w, H_O, H, there, PRECISION)
    return z_i, z_f, z_c, z_o


@triton.jit
def _add_rows(
    dh, dz_ptr, w_ptr, ROWS: tl.constexpr, R: tl.constexpr, H: tl.constexpr, m, n, sequences, units,
    BK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add to dh the gradient through ROWS hidden rows that are adjacent in both z and W_*h."""
    dz = dz_ptr + m.to(tl.int64)[:, None] * (R * H)
    for k_first in range(0, ROWS * H, BK):
        k = k_first + tl.arange(0, BK)
        there = k < ROWS * H
        dz_k = _from_others(dz + k[None, :], sequences[:, None] & there[None, :])
        w = w_ptr + k.to(tl.int64)[:, None] * H + n[None, :]
        w_k = tl.load(w, mask=there[:, None] & units[None, :], other=0.0)
        dh = tl.dot(dz_k, w_k, dh, input_precision=PRECISION)
    return dh


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def forward(
    z_ptr, w_ptr, h_ptr, c_ptr, padding_ptr, y_ptr, saved_ptr, cells_ptr, states_ptr, counter_ptr,
    T, B, first, last, H: tl.constexpr,
    X_I: tl.constexpr, X_F: tl.constexpr, X_C: tl.constexpr, X_O: tl.constexpr,
    H_I: tl.constexpr, H_F: tl.constexpr, H_C: tl.constexpr, H_O: tl.constexpr,
    R: tl.constexpr, SRNN: tl.constexpr, PADDED: tl.constexpr, REVERSE: tl.constexpr,
    SAVE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Run steps [first, last), counted in the order of computation.

    h has two slots, for even and odd steps; c is B x H.
    """
    B = B.to(tl.int64)
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    programs = tl.num_programs(0) * tl.num_programs(1)
    sequences, units = m < B, n < H
    tile = sequences[:, None] & units[None, :]
    place = m.to(tl.int64)[:, None] * H + n[None, :]
    ACTIVATED: tl.constexpr = saved_ptr.dtype.element_ty == tl.float32
    c = load(c_ptr + place, tile)
    for s in tl.range(first, last, num_stages=1):
        t = T - 1 - s if REVERSE else s
        h_prev = h_ptr + (s % 2) * B * H
        h_next = h_ptr + ((s + 1) % 2) * B * H
        tb = t * B + m
        z = z_ptr + tb[:, None] * (R * H) + n[None, :]
        saved = saved_ptr + tb[:, None] * (R * H) + n[None, :]
        out = tb[:, None] * H + n[None, :]

        z_i = _row(z, X_I, H, tile, BM, BN)
        z_f = _row(z, X_F, H, tile, BM, BN)
        z_c = _row(z, X_C, H, tile, BM, BN)
        z_o = _row(z, X_O, H, tile, BM, BN)
        if PADDED:
            padding = tl.load(padding_ptr + tb, mask=sequences, other=1)
        if s > first:
            _wait(counter_ptr, (s - first) * programs)
        z_i, z_f, z_c, z_o = _add_hidden(
            z_i, z_f, z_c, z_o, h_prev, w_ptr,
            H_I, H_F, H_C, H_O, H, m, n, sequences, units, BK, PRECISION,
        )  # fmt: skip
        content = tanh(z_c) if SRNN else z_c
        h = content
        c_next = c
        if X_I >= 0:
            i = sigmoid(z_i)
            f = sigmoid(z_f) if X_F >= 0 else 1.0 - i
            c_next = i * content + f * c
            h = tanh(c_next)
            if X_O >= 0:
                o = sigmoid(z_o)
                h *= o
        y = h
        if PADDED:
            unpadded = (padding == 0)[:, None]
            stays = _from_others(h_prev + place, tile)
            c_next = tl.where(unpadded, c_next, c)
            y = tl.where(unpadded, h, 0.0)
            h = tl.where(unpadded, h, stays.to(tl.float32))
        c = c_next
        tl.store(h_next + place, h, mask=tile)
        if s + 1 < last:
            _arrive(counter_ptr)
        # the other programs wait for h alone
        tl.store(y_ptr + out, y, mask=tile)
        if SAVE:
            if PADDED:
                tl.store(states_ptr + out, h, mask=tile)
            if X_I >= 0:
                tl.store(saved + X_I * H, i if ACTIVATED else z_i, mask=tile)
                if X_F >= 0:
                    tl.store(saved + X_F * H, f if ACTIVATED else z_f, mask=tile)
                if X_O >= 0:
                    tl.store(saved + X_O * H, o if ACTIVATED else z_o, mask=tile)
                tl.store(saved + X_C * H, content if ACTIVATED else z_c, mask=tile)
                tl.store(cells_ptr + out, c, mask=tile)
    tl.store(c_ptr + place, c, mask=tile)


@triton.jit(do_not_specialize=RUN_TIME_VALUES)
def backward(
    w_ptr, c_0_ptr, padding_ptr, saved_ptr, cells_ptr, dy_ptr, dh_ptr, dc_ptr, dz_ptr, counter_ptr,
    T, B, first, last, H: tl.constexpr,
    X_I: tl.constexpr, X_F: tl.constexpr, X_C: tl.constexpr, X_O: tl.constexpr,
    X_1: tl.constexpr, ROWS_1: tl.constexpr, X_2: tl.constexpr, ROWS_2: tl.constexpr,
    R: tl.constexpr, SRNN: tl.constexpr, PADDED: tl.constexpr, REVERSE: tl.constexpr,
    HAS_DY: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Run steps [first, last), counted from the end of the sequence; step T is the initial state.

    dh (B x H, float32) holds the gradient of the final h at first, then the gradient that passes
    through padding, and finally that of h_0. dc (B x H) holds the gradient of the memory cell.
    """
    B = B.to(tl.int64)
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    programs = tl.num_programs(0) * tl.num_programs(1)
    sequences, units = m < B, n < H
    tile = sequences[:, None] & units[None, :]
    place = m.to(tl.int64)[:, None] * H + n[None, :]
    ACTIVATED: tl.constexpr = saved_ptr.dtype.element_ty == tl.float32
    dh = load(dh_ptr + place, tile)
    dc = load(dc_ptr + place, tile)
    for k in tl.range(first, last, num_stages=1):
        s = T - 1 - k
        t = T - 1 - s if REVERSE else s
        t_next = t - 1 if REVERSE else t + 1
        t_prev = t + 1 if REVERSE else t - 1
        step = tl.full((BM,), s, tl.int32)[:, None]  # a tensor, for use in masks
        tb = t * B + m
        out = tb[:, None] * H + n[None, :]
        live = tile & (step >= 0)
        if PADDED:
            there = sequences[:, None] & (step >= 0)
            padding = tl.load(padding_ptr + tb[:, None], mask=there, other=1)
            live = live & (padding == 0)
        dy = tl.zeros((BM, BN), tl.float32)
        if HAS_DY:
            dy = load(dy_ptr + out, live)
        saved = saved_ptr + tb[:, None] * (R * H) + n[None, :]
        content = load(saved + X_C * H, live)
        if X_I >= 0:
            if SRNN and not ACTIVATED:
                content = tanh(content)
            i = _gate(saved + X_I * H, live, ACTIVATED)
            f = 1.0 - i
            if X_F >= 0:
                f = _gate(saved + X_F * H, live, ACTIVATED)
            if X_O >= 0:
                o = _gate(saved + X_O * H, live, ACTIVATED)
            c = load(cells_ptr + out, live)
            before = t_prev * B + m
            c_prev = load(cells_ptr + before[:, None] * H + n[None, :], live & (step > 0))
            c_prev += load(c_0_ptr + place, live & (step == 0))

        if k > first:
            _wait(counter_ptr, (k - first) * programs)
        if k > 0:  # add the gradient through the pre-activations of the next time step
            dz_next = dz_ptr + t_next * B * (R * H)
            dh = _add_rows(
                dh, dz_next + X_1 * H, w_ptr, ROWS_1, R, H, m, n, sequences, units, BK, PRECISION
            )
            if ROWS_2 > 0:
                w_2 = w_ptr + ROWS_1 * H * H
                dh = _add_rows(
                    dh, dz_next + X_2 * H, w_2, ROWS_2, R, H, m, n, sequences, units, BK, PRECISION
                )
        if s >= 0:
            stays = tl.zeros((BM, BN), tl.float32)
            if PADDED:
                stays = tl.where(live, 0.0, dh)
            dh += dy
            dz = dz_ptr + tb[:, None] * (R * H) + n[None, :]
            d_content = dh
            if X_I >= 0:
                tanh_c = tanh(c)
                if X_O >= 0:
                    d_o = dh * tanh_c * o * (1.0 - o)
                    tl.store(dz + X_O * H, tl.where(live, d_o, 0.0), mask=tile)
                    dh *= o
                dc_t = dc + dh * (1.0 - tanh_c * tanh_c)
                slope = dc_t * i * (1.0 - i)
                if X_F >= 0:
                    d_f = dc_t * c_prev * f * (1.0 - f)
                    tl.store(dz + X_F * H, tl.where(live, d_f, 0.0), mask=tile)
                    d_i = slope * content
                else:
                    d_i = slope * (content - c_prev)
                tl.store(dz + X_I * H, tl.where(live, d_i, 0.0), mask=tile)
                dc = tl.where(live, dc_t * f, dc)
                d_content = dc_t * i
            if SRNN:
                d_content *= 1.0 - content * content
            tl.store(dz + X_C * H, tl.where(live, d_content, 0.0), mask=tile)
            dh = stays
        if k + 1 < last:
            _arrive(counter_ptr)
    tl.store(dh_ptr + place, dh, mask=tile)
    tl.store(dc_ptr + place, dc, mask=tile)
