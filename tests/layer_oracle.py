"""The oracle of `WsumLSTM`, the equations written out, and what its tests have in common.

T time steps, B sequences, I input features, H hidden units, P features of h.
"""

import pytest
import torch
from torch import Tensor

from fairseq_wsum import ABLATIONS, WsumLSTM

CELLS = [(name, False) for name in ABLATIONS] + [
    (name, True) for name in ABLATIONS if name != "no-gates"
]
CELL_IDS = [name + ("-coupled" if coupled else "") for name, coupled in CELLS]
every_cell = pytest.mark.parametrize(("ablation", "coupled"), CELLS, ids=CELL_IDS)
every_ablation = pytest.mark.parametrize("ablation", ABLATIONS)


def oracle(
    layer: WsumLSTM, x: Tensor, h: Tensor, c: Tensor, suffix: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The paper's equations for one direction, one sequence and one step at a time.

    Written from the paper, case by case, and on purpose not from the package's description of a
    cell. x: T x I; h: P; c: H.
    """
    name, n = layer.ablation, layer.hidden_size
    srnn = "srnn" not in name
    hidden = "hidden" not in name
    order = [
        row
        for row in "ifco"
        if not (row == "o" and "out" in name) and not (row == "f" and layer.coupled_gates)
    ]
    if name == "no-gates":
        order = ["c"]

    def block(parameter: str, rows: list[str], row: str) -> Tensor | None:
        tensor = getattr(layer, parameter + suffix, None)
        if tensor is None or row not in rows:
            return None
        k = rows.index(row)
        return tensor[k * n : (k + 1) * n]

    hidden_order = [r for r in order if (srnn if r == "c" else hidden)]
    bias_order = [r for r in order if r != "c" or srnn]

    def z(row: str, x_t: Tensor, h: Tensor) -> Tensor:
        w_x = block("weight_ih", order, row)
        assert w_x is not None
        value = w_x @ x_t
        w_h = block("weight_hh", hidden_order, row)
        if w_h is not None:
            value = value + w_h @ h
        for bias in (
            block("bias_ih", bias_order, row),
            block("bias_hh", hidden_order, row),
        ):
            if bias is not None:
                value = value + bias
        return value

    outputs = []
    for x_t in x:
        content = z("c", x_t, h)
        if srnn:
            content = torch.tanh(content)
        if name == "no-gates":
            h = content
        else:
            i = torch.sigmoid(z("i", x_t, h))
            f = 1 - i if layer.coupled_gates else torch.sigmoid(z("f", x_t, h))
            o = torch.ones(n, dtype=x.dtype) if "out" in name else torch.sigmoid(z("o", x_t, h))
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


def make(I: int = 3, H: int = 4, **kwargs) -> WsumLSTM:  # noqa: E741
    return WsumLSTM(I, H, dtype=torch.float64, **kwargs)


def make_state(layer: WsumLSTM, batch: int) -> tuple[Tensor, Tensor]:
    slots = layer.num_layers * layer.num_directions
    dtype = layer.weight_ih_l0.dtype
    return (
        torch.randn(slots, batch, layer.output_size, dtype=dtype),
        torch.randn(slots, batch, layer.hidden_size, dtype=dtype),
    )


def assert_same(actual, expected, **tolerance) -> None:
    torch.testing.assert_close(actual, expected, **tolerance)


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
