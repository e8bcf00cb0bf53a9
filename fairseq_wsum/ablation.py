"""What a cell has: the LSTM of Levy et al. (ACL 2018) with its parts taken away, as data.

An LSTM is a simple RNN (S-RNN, its content layer) plus a gated memory cell. An `Ablation` says
which of these parts are left; every equation, parameter and kernel asks it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Ablation:
    """One cell: which parts of the LSTM it has.

    A cell is computed from *rows* of pre-activations, named by the paper's letters: `i`, `f`, `o`
    for the gates and `c` for the content layer c~ (torch's documentation writes `g` for it).

    Args:
        name: the short name that options take, such as `no-srnn`.
        title: the name in the paper, such as `LSTM - S-RNN`, or one made like it.
        srnn: the content layer is a simple RNN, c~ = tanh(W_cx x + W_ch h + b_c);
            without it the content is linear, c~ = W_cx x, with no bias.
        output_gate: h = o * tanh(c); without it h = tanh(c).
        recurrent_gates: the gates see h_{t-1}; without it they see x_t only.
        gates: there is a gated memory cell; without it h = c~.
        coupled_gates: the forget gate is f = 1 - i and has no parameters.
    """

    name: str
    title: str
    srnn: bool = True
    output_gate: bool = True
    recurrent_gates: bool = True
    gates: bool = True
    coupled_gates: bool = False

    @property
    def input_rows(self) -> tuple[str, ...]:
        """The rows of W_*x, in torch's order: what is computed from x_t."""
        if not self.gates:
            return ("c",)
        has = {"i": True, "f": not self.coupled_gates, "c": True, "o": self.output_gate}
        return tuple(row for row in "ifco" if has[row])

    @property
    def hidden_rows(self) -> tuple[str, ...]:
        """The rows of W_*h, in torch's order: what is computed from h_{t-1}."""
        return tuple(
            row for row in self.input_rows if (self.srnn if row == "c" else self.recurrent_gates)
        )

    @property
    def input_bias_rows(self) -> tuple[str, ...]:
        """The rows with a bias. A linear content layer has none."""
        return tuple(row for row in self.input_rows if row != "c" or self.srnn)

    @property
    def has_twin(self) -> bool:
        """Whether a module of torch has the same parameters: `nn.LSTM`, or `nn.RNN`."""
        return self.name in ("lstm", "no-gates") and not self.coupled_gates

    @property
    def is_recurrent(self) -> bool:
        """Whether any h_{t-1} is used: without it only the memory cell links two time steps."""
        return bool(self.hidden_rows)


def describe(cell: Ablation) -> str:
    """The cell as options name it."""
    return f"{cell.name} with coupled gates" if cell.coupled_gates else cell.name


_NO_SRNN = Ablation("no-srnn", "LSTM - S-RNN", srnn=False)

ABLATIONS: dict[str, Ablation] = {
    cell.name: cell
    for cell in (
        Ablation("lstm", "LSTM"),
        _NO_SRNN,
        replace(_NO_SRNN, name="no-srnn-out", title="LSTM - S-RNN - OUT", output_gate=False),
        replace(
            _NO_SRNN, name="no-srnn-hidden", title="LSTM - S-RNN - HIDDEN", recurrent_gates=False
        ),
        Ablation("no-gates", "LSTM - GATES", gates=False),
        replace(
            _NO_SRNN,
            name="no-srnn-out-hidden",
            title="LSTM - S-RNN - OUT - HIDDEN",
            output_gate=False,
            recurrent_gates=False,
        ),
        Ablation("no-out", "LSTM - OUT", output_gate=False),
        Ablation("no-hidden", "LSTM - HIDDEN", recurrent_gates=False),
    )
}


def get_ablation(name: str, *, coupled_gates: bool = False) -> Ablation:
    """The cell called `name`, with f = 1 - i where `coupled_gates`.

    Raises:
        ValueError: `name` is not a key of `ABLATIONS`, or the cell has no gates to couple.
    """
    if name not in ABLATIONS:
        raise ValueError(f"unknown ablation {name!r}: choose one of {', '.join(ABLATIONS)}")
    cell = ABLATIONS[name]
    if coupled_gates and not cell.gates:
        raise ValueError(f"coupled_gates=True needs gates, and ablation {name!r} has none")
    return replace(cell, coupled_gates=coupled_gates)
