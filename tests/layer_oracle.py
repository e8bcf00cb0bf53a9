"""The oracle of `WsumLSTM`, the equations written out, and helpers that its tests share.

T time steps, B sequences, I input features, H hidden units, P features of h.
"""

from typing import NamedTuple

import pytest
import torch
from relatives_oracle import RELATIVES
from torch import Tensor

from fairseq_wsum import CELLS, WsumLSTM
from fairseq_wsum.cells import Rows
from fairseq_wsum.recurrence import Parameters

ABLATIONS = [name for name in CELLS if name not in RELATIVES]
ALL_CELLS = [(name, False) for name in CELLS] + [
    (name, True) for name in ABLATIONS if name != "no-gates"
]
CELL_IDS = [name + ("-coupled" if coupled else "") for name, coupled in ALL_CELLS]
every_cell = pytest.mark.parametrize(("cell", "coupled"), ALL_CELLS, ids=CELL_IDS)
every_name = pytest.mark.parametrize("cell", CELLS)
assert_same = torch.testing.assert_close
MODULES = {"lstm": torch.nn.LSTM, "no-gates": torch.nn.RNN, "gru": torch.nn.GRU}

PROJECTIONS = {"plain": 0, "projected": 2}
every_cell_and_projection = pytest.mark.parametrize(
    ("cell", "coupled", "proj_size"),
    [
        pytest.param(cell, coupled, size, id=f"{name}-{kind}")
        for (cell, coupled), name in zip(ALL_CELLS, CELL_IDS, strict=True)
        for kind, size in PROJECTIONS.items()
        if not size or (CELLS[cell].can_project and not coupled)
    ],
)


def inner(
    w_hh: Tensor | None = None, w_hr: Tensor | None = None, v: Rows | None = None
) -> Parameters:
    """Parameters for the `recur` of a backend, which starts from the products with x_t."""
    return Parameters(torch.empty(0), w_hh, None, None, w_hr, v or {})


class Equations(NamedTuple):
    """A cell of the paper: the letters that have a matrix W_*x, a matrix W_*h, and a bias."""

    x: str
    h: str
    b: str


# Levy et al. (2018), equations 1 to 6 and section 3; the last three combine what they take away.
PAPER = {
    "lstm": Equations(x="ifco", h="ifco", b="ifco"),
    "no-srnn": Equations(x="ifco", h="ifo", b="ifo"),
    "no-srnn-out": Equations(x="ifc", h="if", b="if"),
    "no-srnn-hidden": Equations(x="ifco", h="", b="ifo"),
    "no-gates": Equations(x="c", h="c", b="c"),
    "no-srnn-out-hidden": Equations(x="ifc", h="", b="if"),
    "no-out": Equations(x="ifc", h="ifc", b="ifc"),
    "no-hidden": Equations(x="ifco", h="c", b="ifco"),
}


def oracle(
    layer: WsumLSTM, x: Tensor, h: Tensor, c: Tensor, suffix: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The paper's equations for one direction, one sequence and one step at a time.

    Written from the paper, and on purpose not from the package's description of a cell.
    x: T x I; h: P; c: H.
    """
    if layer.cell.name in RELATIVES:
        names = (name for name, _ in layer.named_parameters() if name.endswith(suffix))
        p = {name.removesuffix(suffix): getattr(layer, name) for name in names}
        return RELATIVES[layer.cell.name](layer.cell, p, x, h, c)
    n, coupled = layer.hidden_size, "coupled" in layer.cell.label
    has = PAPER[layer.cell.name]
    if coupled:
        has = Equations(*(letters.replace("f", "") for letters in has))

    def block(parameter: str, letters: str, letter: str) -> Tensor:
        k = letters.index(letter)
        return getattr(layer, parameter + suffix)[k * n : (k + 1) * n]

    def z(letter: str, x_t: Tensor, h: Tensor) -> Tensor:
        value = block("weight_ih", has.x, letter) @ x_t
        if letter in has.h:
            value = value + block("weight_hh", has.h, letter) @ h
        if letter in has.b and layer.bias:
            value = value + block("bias_ih", has.b, letter)
        if letter in has.h and layer.bias:
            value = value + block("bias_hh", has.h, letter)
        return value

    outputs = []
    for x_t in x:
        content = z("c", x_t, h)
        if "c" in has.h:  # the S-RNN; without it the content is linear
            content = torch.tanh(content)
        if has.x == "c":
            h = content
        else:
            i = torch.sigmoid(z("i", x_t, h))
            f = 1 - i if coupled else torch.sigmoid(z("f", x_t, h))
            o = torch.sigmoid(z("o", x_t, h)) if "o" in has.x else torch.ones(n, dtype=x.dtype)
            c = i * content + f * c
            h = o * torch.tanh(c)
        if layer.proj_size:
            h = getattr(layer, "weight_hr" + suffix) @ h
        outputs.append(h)
    return torch.stack(outputs), h, c


def oracle_layers(
    layer: WsumLSTM, x: Tensor, h_0: Tensor, c_0: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """All layers and directions of one sequence: T x I -> T x D*P, and both final states."""
    h_n, c_n = [], []
    for k in range(layer.num_layers):
        outputs = []
        for d in range(layer.num_directions):
            slot = k * layer.num_directions + d
            suffix = f"_l{k}" + ("_reverse" if d else "")
            steps = x.flip(0) if d else x
            y, h, c = oracle(layer, steps, h_0[slot], c_0[slot], suffix)
            outputs.append(y.flip(0) if d else y)
            h_n.append(h)
            c_n.append(c)
        x = torch.cat(outputs, dim=-1)
    return x, torch.stack(h_n), torch.stack(c_n)


def scan_loop(
    f: Tensor, u: Tensor, c: Tensor, padding_mask: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """c_t = f_t * c_{t-1} + u_t, one step at a time: T x B x H, and the last one."""
    cells = {}
    steps = range(len(f))
    for t in reversed(steps) if reverse else steps:
        new = f[t] * c + u[t]
        c = new if padding_mask is None else torch.where(padding_mask[t, :, None], c, new)
        cells[t] = c
    return torch.stack([cells[t] for t in steps]), c


def make(I: int = 3, H: int = 4, **kwargs) -> WsumLSTM:  # noqa: E741
    return WsumLSTM(I, H, dtype=torch.float64, **kwargs)


def make_state(layer: WsumLSTM, batch: int) -> tuple[Tensor, Tensor]:
    slots = layer.num_layers * layer.num_directions
    dtype = layer.weight_ih_l0.dtype
    return (
        torch.randn(slots, batch, layer.output_size, dtype=dtype),
        torch.randn(slots, batch, layer.hidden_size, dtype=dtype),
    )


def padded_batch(lengths: list[int], side: str) -> tuple[Tensor, Tensor, list[Tensor]]:
    """x (T x B x 3) with NaN at padding, its mask, and the sequences by themselves."""
    n = max(lengths)
    alone = [torch.randn(k, 3, dtype=torch.float64) for k in lengths]
    x = torch.full((n, len(lengths), 3), float("nan"), dtype=torch.float64)
    mask = torch.ones(n, len(lengths), dtype=torch.bool)
    for b, sequence in enumerate(alone):
        steps = slice(n - len(sequence), n) if side == "left" else slice(len(sequence))
        x[steps, b], mask[steps, b] = sequence, False
    return x, mask, alone


def mask_of(side: str | None, time: int, batch: int) -> Tensor | None:
    """Padding, T x B: None, on one side of sequences of lengths from 0 on, in any step, or "all".

    A single sequence has half of the steps. Of several, the first is all padding.
    """
    if side is None:
        return None
    if side == "all":
        return torch.ones(time, batch, dtype=torch.bool)
    if side == "holes":
        mask = torch.rand(time, batch) < 0.4
        mask[:, 0] |= batch > 1
        return mask
    lengths = torch.arange(batch) * max(time // (batch or 1), 1) % (time + 1)
    if batch == 1:
        lengths = torch.tensor([(time + 1) // 2])
    steps = torch.arange(time).unsqueeze(1)
    return steps >= lengths if side == "right" else steps < time - lengths


def error_of(found: Tensor, right: Tensor) -> Tensor:
    """The largest difference, over the largest number or 1."""
    largest = right.abs().amax().clamp_min(1)
    return (found.double().cpu() - right).abs().amax() / largest


def outputs_and_gradients(
    layer: WsumLSTM,
    x: Tensor,
    state: tuple[Tensor, ...],
    mask: Tensor | None = None,
    autocast: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """y and the final state, and the gradients of a random sum of them; all in float64 on the CPU.

    The input and the state are converted to the dtype and the device of the layer.
    """
    first = next(layer.parameters())
    x, *state = (p.detach().to(first.device, first.dtype).requires_grad_() for p in (x, *state))
    mask = None if mask is None else mask.to(first.device)
    with torch.autocast(first.device.type, autocast, enabled=autocast is not None):
        y, final = layer(x, tuple(state), mask)
    outputs = {"y": y, **dict(zip(("h_n", "c_n", "x_n"), final, strict=False))}
    draw = torch.Generator().manual_seed(2)
    # numbers that every dtype represents
    weights = (torch.randn(o.shape, generator=draw).bfloat16() for o in outputs.values())
    loss = sum(
        (o.double() * w.to(o.device)).sum() for o, w in zip(outputs.values(), weights, strict=True)
    )
    inputs = {"x": x, **dict(zip(("h_0", "c_0", "x_0"), state, strict=False))}
    inputs |= dict(layer.named_parameters())
    gradients = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True)
    found = outputs | {
        f"gradient of {name}": gradient
        for name, gradient in zip(inputs, gradients, strict=True)
        if gradient is not None
    }
    return {name: tensor.detach().double().cpu() for name, tensor in found.items()}
