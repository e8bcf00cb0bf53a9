"""`WsumLSTM`, a drop-in replacement for `torch.nn.LSTM` with an ablatable cell.

Shapes: T time steps, B sequences, I input features, H hidden units, P features of h (P = H
without a projection), L layers, D directions.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from .. import recurrence
from ..cells import Cell, get_cell
from ..cells.precision import wide
from ..recurrence import Inputs, Parameters
from ..recurrence.padding import zero_at_padding
from ..training.dropout import dropout
from ..transforms import in_autocast, product_dtype
from . import checks, single_step
from .types import Pass, Record, State
from .window import LastInputs


def _suffix(layer: int, direction: int) -> str:
    """The end of the names of the parameters of one direction of a layer."""
    return f"_l{layer}_reverse" if direction == 1 else f"_l{layer}"


class WsumLSTM(nn.Module):
    """A multi-layer LSTM with an ablated cell (Levy et al., ACL 2018), or with another cell.

    The full cell, `cell="lstm"`, is the cell of `torch.nn.LSTM`:

        c~_t = tanh(W_cx x_t + W_ch h_{t-1} + b_c)    content layer, a simple RNN
        i_t, f_t, o_t = sigmoid(W_*x x_t + W_*h h_{t-1} + b_*)
        c_t  = i_t * c~_t + f_t * c_{t-1}             memory cell, a weighted sum
        h_t  = o_t * tanh(c_t)

    `no-srnn` makes the content linear in x_t, `no-out` removes the output gate, and `no-hidden`
    makes the gates independent of h_{t-1}. Combined names combine these ablations. `no-gates`
    removes the memory cell with all gates, which leaves a simple RNN (`torch.nn.RNN`). The other
    cells are relatives of the LSTM: `gru`, `mingru`, `minlstm`, `qrnn` and `sru`.

    Parameters have the names, order and layout of torch's modules, without the rows and matrices
    that the cell does not use. So `load_state_dict` works in both directions between `lstm` and
    `torch.nn.LSTM`, `gru` and `torch.nn.GRU`, and `no-gates` and `torch.nn.RNN`. Like torch's, a
    state dict has the parameters alone and does not name the cell.

    Args:
        input_size: number of input features, I.
        hidden_size: number of units of the memory cell, H.
        num_layers: number of stacked layers.
        bias: whether there are bias vectors. A linear content layer never has one.
        batch_first: input, output and mask are B x T instead of T x B. States are not affected.
        dropout: dropout probability on the output of every layer but the last, or a module to
            apply there instead.
        bidirectional: run each layer in both directions and concatenate the outputs.
        proj_size: project h_t to this many features, P, as `torch.nn.LSTM` does; 0 for no
            projection.
        device, dtype: device and dtype of the parameters.
        cell: a name from `fairseq_wsum.CELLS`, or a `Cell`.
        coupled_gates: the forget gate is f_t = 1 - i_t, without parameters.
        window: for `qrnn`, 1 (x_t alone, the default) or 2 (x_t and x_{t-1}).
        residuals: add each layer's input to its output, y_l = LSTM_l(dropout(x_l)) + x_l, from the
            second layer on.
        backend: `auto`, or a name from `fairseq_wsum.recurrence.BACKENDS`.

    Raises:
        ValueError: an argument is invalid; the message names it.
    """

    weight_ih_l0: nn.Parameter  # every cell has this one; all others are looked up by name

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float | nn.Module = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        cell: str | Cell = "lstm",
        coupled_gates: bool = False,
        window: int | None = None,
        residuals: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.cell = get_cell(cell, coupled_gates=coupled_gates, window=window)
        recurrence.check_name(backend)
        checks.sizes(
            self.cell, hidden_size, proj_size, input_size=input_size, num_layers=num_layers
        )
        if not isinstance(dropout, nn.Module):
            checks.dropout(dropout, num_layers)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout if isinstance(dropout, nn.Module) else float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.residuals = residuals
        self.backend = backend
        self._cells = [self.cell.fit(self._features(k), hidden_size) for k in range(num_layers)]
        self._parameter_names = [tuple(self._parameter_shapes(k)) for k in range(num_layers)]
        for layer in range(num_layers):
            for direction in range(self.num_directions):
                for name, shape in self._parameter_shapes(layer).items():
                    parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    self.register_parameter(name + _suffix(layer, direction), parameter)
        self.reset_parameters()

    @property
    def output_size(self) -> int:
        """Number of features of h in one direction, P."""
        return self.proj_size or self.hidden_size

    @property
    def num_directions(self) -> int:
        """2 if the layer is bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def reset_parameters(self) -> None:
        """Draw all parameters from U(-1/sqrt(H), 1/sqrt(H)), as `torch.nn.LSTM` does.

        Then the cell sets those for which it needs other values (`Cell.initialise`).
        """
        bound = 1 / math.sqrt(self.hidden_size)
        for name, parameter in self.named_parameters():  # also those of parametrizations
            if not name.startswith("dropout."):  # a module of the caller's
                nn.init.uniform_(parameter, -bound, bound)
        self.initialise_cell()

    @torch.no_grad()
    def initialise_cell(self) -> None:
        """Set the initial parameters that the cell prescribes, after all were drawn uniformly."""
        for k, cell in enumerate(self._cells):
            for direction in range(self.num_directions):
                parameters = self.layer_parameters(k, direction).items()
                present = {name: one for name, one in parameters if one is not None}
                cell.initialise(present, self.hidden_size)

    def flatten_parameters(self) -> None:
        """Do nothing. This exists for code written for `torch.nn.LSTM`."""

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters in one list per layer and direction, as in `torch.nn.LSTM`."""
        return [
            list(self.layer_parameters(layer, direction).values())
            for layer in range(self.num_layers)
            for direction in range(self.num_directions)
        ]

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        padding_mask: Tensor | None = None,
        *,
        record: Record | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """Run all layers over a batch of sequences.

        Args:
            input: x, T x B x I (B x T x I with `batch_first`), one sequence T x I, or a
                `PackedSequence`.
            hx: initial state (h_0, c_0), L*D x B x P and L*D x B x H, without the B for one
                sequence; zero by default. In a layer with 16-bit parameters, c_0 may be
                float32; then c_n is float32 too, and running a sequence in parts of two steps or
                more loses no precision (except with the `torch` backend, or if h_t is the memory
                cell). With a window of 2, hx may have a third part: the last inputs of all layers,
                side by side, D x B x F, where F is the sum of the layers' input sizes.
            padding_mask: boolean, True at padding, T x B (B x T with `batch_first`), or T for one
                sequence. Sequences may be padded on either side. Padding never changes a result,
                and the outputs at padding are zero.
            record: called with a `Pass` after each direction of each layer; see
                `fairseq_wsum.weights.from_pass`.

        Returns:
            `(output, (h_n, c_n))`. The output is T x B x D*P, in the form of the input. The states
            are those after the last time step that is not padding, in the form of `hx`. With a
            window of 2 there is a third part, the last inputs. `no-gates` has no memory cell and
            returns `c_0` unchanged. So do the cells whose h_t is the memory cell (`gru`, `mingru`,
            `minlstm`), which start from `h_0`.

        Raises:
            RuntimeError, TypeError, ValueError: a shape or dtype is wrong; the message names it.
            RuntimeError: the backend given by name cannot run this layer; the message says why.
        """
        x = input
        if isinstance(x, PackedSequence):
            return self._forward_packed(x, hx, padding_mask, record)
        plain = padding_mask is None and record is None and not torch.is_grad_enabled()
        if plain and hx is not None and self._is_small_step(x, hx):
            layers = [
                (cell, Parameters.from_names(cell, self.layer_parameters(k)))
                for k, cell in enumerate(self._cells)
            ]
            return single_step.run(layers, x, hx, self.drop, self.residuals)
        checks.input(x, self.input_size, self._dtype(x), self.batch_first)
        if padding_mask is not None:
            checks.mask(padding_mask, x.shape[:-1], self.batch_first)
        batched = x.dim() == 3
        if not batched:
            x = x.unsqueeze(1)
            padding_mask = None if padding_mask is None else padding_mask.unsqueeze(1)
        elif self.batch_first:
            x = x.transpose(0, 1)
            padding_mask = None if padding_mask is None else padding_mask.transpose(0, 1)

        y, state = self._run_layers(x, self._initial_state(x, hx, batched), padding_mask, record)

        if not batched:
            return y.squeeze(1), tuple(part.squeeze(1) for part in state)
        return (y.transpose(0, 1) if self.batch_first else y), state

    def extra_repr(self) -> str:
        defaults: dict[str, Any] = dict(num_layers=1, bias=True, batch_first=False, dropout=0.0)
        defaults |= dict(bidirectional=False, proj_size=0, residuals=False, backend="auto")
        shown = [str(self.input_size), str(self.hidden_size)]
        for name, default in defaults.items():
            if getattr(self, name) != default:
                shown.append(f"{name}={getattr(self, name)!r}")
        shown.append(f"cell={self.cell.label!r}")
        return ", ".join(shown)

    # Parameters

    def _parameter_shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the cell's parameters by name (without suffix), in torch's order."""
        h, p, cell = self.hidden_size, self.output_size, self._cells[layer]
        features = self._features(layer) * cell.window
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (len(cell.weight_rows) * h, features)}
        if cell.has_recurrent_matrix:
            shapes["weight_hh"] = (len(cell.hidden_rows) * h, p)
        if self.bias and cell.bias_rows:
            shapes["bias_ih"] = (len(cell.bias_rows) * h,)
            if cell.has_recurrent_matrix:
                shapes["bias_hh"] = (len(cell.hidden_rows) * h,)
        if self.proj_size:
            shapes["weight_hr"] = (p, h)
        return shapes | dict.fromkeys(cell.vectors, (h,))

    def _features(self, layer: int) -> int:
        """The number of input features of a layer."""
        return self.input_size if layer == 0 else self.output_size * self.num_directions

    def layer_parameters(self, layer: int, direction: int = 0) -> dict[str, Tensor]:
        """The parameters of one direction of a layer, by name without a suffix such as "_l0".

        They are looked up as attributes, because pruning and weight dropout replace them by others.
        """
        suffix = _suffix(layer, direction)
        return {name: getattr(self, name + suffix) for name in self._parameter_names[layer]}

    # Running

    def _run_layers(
        self, x: Tensor, hx: State, padding_mask: Tensor | None, record: Record | None
    ) -> tuple[Tensor, State]:
        h_0, c_0 = (state.unbind() for state in hx[:2])
        last_inputs = LastInputs(hx[2], padding_mask) if self.cell.window > 1 else None
        h_n: list[Tensor] = []
        c_n: list[Tensor] = []
        for layer in range(self.num_layers):
            below, cell = x, self._cells[layer]
            if layer > 0:
                x = self.drop(x)
            # zero times NaN is NaN, so values at padding must not enter a matrix product
            x = zero_at_padding(x, padding_mask)
            dtype = product_dtype(x, self.weight_ih_l0)
            backend = recurrence.choose(self.backend, cell, x.device, dtype, self.proj_size > 0)
            outputs: list[Tensor] = []
            for direction in range(self.num_directions):
                k = layer * self.num_directions + direction
                p = Parameters.from_names(cell, self.layer_parameters(layer, direction))
                reverse = direction == 1
                inputs = x if last_inputs is None else last_inputs.join(x, reverse)
                memory = h_0[k] if cell.hidden_is_memory else c_0[k]
                given = Inputs(cell, inputs, p, h_0[k], memory, padding_mask, reverse)
                y, h, c = backend.run(given)
                if record is not None:
                    record(Pass(layer, given, y, c))
                outputs.append(y)
                h_n.append(h)
                c_n.append(c_0[k] if cell.hidden_is_memory else c)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
            if self.residuals and layer > 0:
                x = x + below
        state: State = (torch.stack(h_n), torch.stack(c_n))
        return x, state if last_inputs is None else (*state, last_inputs.state())

    def drop(self, x: Tensor) -> Tensor:
        """The dropout between layers. A module decides itself when it drops."""
        if isinstance(self.dropout, nn.Module):
            # the module may work in place, and x is also the output of a layer, with its last state
            return self.dropout(x.clone())
        return dropout(x, self.dropout) if self.training else x

    def _is_small_step(self, x: Tensor, hx: State) -> bool:
        """Whether `single_step` computes this call; no for bad arguments, which are named later."""
        weight, has_matrix = self.weight_ih_l0, self.cell.has_recurrent_matrix
        limit = single_step.LIMIT_WITH_MATRIX if has_matrix else single_step.LIMIT
        return (
            not torch.compiler.is_compiling()  # it has no calls to save; would fix the batch size
            and len(hx) == 2
            and x.dim() == 3
            and x.size(0) == 1
            and x.is_cpu
            and weight.is_cpu
            and x.size(1) * self.hidden_size < limit
            and not (self.batch_first or self.bidirectional or self.training)
            and self.backend == "auto"
            and self.cell.window == 1
            and x.size(2) == self.input_size
            and x.dtype == hx[0].dtype == weight.dtype
            and hx[1].dtype in (weight.dtype, wide(weight.dtype))
            and hx[0].shape == (self.num_layers, x.size(1), self.output_size)
            and hx[1].shape == (self.num_layers, x.size(1), self.hidden_size)
            and not in_autocast(x.device)
        )

    def _forward_packed(
        self,
        packed: PackedSequence,
        hx: State | None,
        padding_mask: Tensor | None,
        record: Record | None,
    ) -> tuple[PackedSequence, State]:
        if padding_mask is not None:
            raise ValueError("padding_mask is for padded input: a PackedSequence has none")
        x, lengths = pad_packed_sequence(packed)  # T x B x I, in the caller's order
        checks.input(x, self.input_size, self._dtype(x), False)
        steps = torch.arange(x.size(0), device=x.device).unsqueeze(1)
        mask = steps >= lengths.to(x.device)
        y, state = self._run_layers(x, self._initial_state(x, hx), mask, record)
        if packed.sorted_indices is not None:
            y = y.index_select(1, packed.sorted_indices)
            lengths = lengths[packed.sorted_indices.to(lengths.device)]
        data = pack_padded_sequence(y, lengths).data
        return packed._replace(data=data), state

    def _initial_state(self, x: Tensor, hx: State | None, batched: bool = True) -> State:
        """All parts of the state with a dimension for the batch; what `hx` lacks is zero."""
        slots, batch = self.num_layers * self.num_directions, (x.size(1),) if batched else ()
        shapes = {
            "h_0": (slots, *batch, self.output_size),
            "c_0": (slots, *batch, self.hidden_size),
        }
        if self.cell.window > 1:
            features = sum(map(self._features, range(self.num_layers)))
            shapes["x_0"] = (self.num_directions, *batch, features)
        given: State = ()
        if hx is not None:
            checks.state(hx, shapes)
            given = hx
        missing = map(self.weight_ih_l0.new_zeros, list(shapes.values())[len(given) :])
        state = (*given, *missing)
        return state if batched else tuple(part.unsqueeze(1) for part in state)

    def _dtype(self, x: Tensor) -> torch.dtype | None:
        """The dtype that inputs and states must have; None in autocast, which converts them."""
        return None if in_autocast(x.device) else self.weight_ih_l0.dtype
