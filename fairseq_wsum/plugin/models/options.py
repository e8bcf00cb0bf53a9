"""Options shared by the models, and functions that read fairseq's configuration."""

from argparse import SUPPRESS, Namespace
from ast import literal_eval
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import Enum
from itertools import pairwise
from typing import Any, Optional, TypeVar, get_args

from fairseq.dataclass import FairseqDataclass
from omegaconf import II
from omegaconf.errors import InterpolationResolutionError

from ... import backends
from ...cells import CELLS, Cell, get_cell

# fairseq's dataclass machinery needs annotations that are types and supports `Optional` only, so
# this file uses neither `int | None` nor `from __future__ import annotations`.
# ruff: noqa: UP045

Value = TypeVar("Value")

TRUE = ("1", "true", "yes", "on")  # values of options, in lower case
FALSE = ("0", "false", "no", "off")
MAX_POSITIONS = 100_000  # fairseq needs a limit; the models have none

_CELLS_WITH_TITLES = ", ".join(f"{name} ({cell.title})" for name, cell in CELLS.items())
CELL = {"help": f"cell of all layers: {_CELLS_WITH_TITLES}, or a registered cell"}


@dataclass(frozen=True)
class Side:
    """The options of the LSTMs of an encoder or a decoder, with all defaults resolved."""

    cell: Cell
    embed_dim: int
    hidden_size: int
    layers: int
    dropout_in: float
    dropout_out: float
    layer_dropout: float
    ffn_embed_dim: int = 0  # inner size of the feed-forward blocks; 0 for none


@dataclass
class CellOptions(FairseqDataclass):
    """The options of all models: for the cell and the backend."""

    cell: str = field(default="lstm", metadata=CELL)
    coupled_gates: bool = field(
        default=False, metadata={"help": "f = 1 - i, in the LSTM and its ablations"}
    )
    window: Optional[int] = field(
        default=None,
        metadata={"help": "inputs that a step of a qrnn reads: 1 (default) or 2"},
    )
    lstm_backend: str = field(
        default="auto", metadata={"help": f"backend of the LSTM: {', '.join(backends.choices())}"}
    )
    # not an option for users, and without help: see `use_preset`
    preset: Optional[str] = field(default=None, compare=False, metadata={"help": SUPPRESS})
    # not an option, because fairseq creates none for interpolated values
    criterion_name: Optional[str] = II("oc.select:criterion._name,null")  # of --criterion

    @classmethod
    def from_namespace(cls, args: Any) -> "CellOptions":
        """Extend fairseq's method, which misses --criterion: a Namespace has it as `criterion`."""
        config: CellOptions = super().from_namespace(args)
        if isinstance(args, Namespace) and str(config.criterion_name).startswith("${"):
            config.criterion_name = getattr(args, "criterion", None)
        return config


@dataclass
class LSTMOptions(CellOptions):
    """The options that the translation model and the language model share."""

    residuals: bool = field(
        default=False,
        metadata={"help": "add each LSTM layer's input to its output, from the second layer on"},
    )
    init_range: float = field(
        default=0.1,
        metadata={
            "help": "draw all parameters uniformly from [-R, R], except those for which minlstm "
            "and sru prescribe other values"
        },
    )
    share_decoder_input_output_embed: bool = field(
        default=False,
        metadata={
            "help": "share decoder input and output embeddings "
            "(no effect with the adaptive_loss criterion, whose adaptive softmax has its own)"
        },
    )
    adaptive_softmax_cutoff: Optional[str] = field(
        default="10000,50000,200000",
        metadata={
            "help": "comma separated list of adaptive softmax cutoff points. "
            "Only used with the adaptive_loss criterion"
        },
    )
    decoder_embed_path: Optional[str] = field(
        default=None, metadata={"help": "path to pre-trained decoder embedding"}
    )
    decoder_freeze_embed: bool = field(
        default=False, metadata={"help": "freeze decoder embeddings"}
    )
    decoder_hidden_size: Optional[int] = field(
        default=None, metadata={"help": "decoder hidden size (default: --decoder-embed-dim)"}
    )
    decoder_dropout_out: Optional[float] = field(
        default=None,
        metadata={
            "help": "dropout probability for decoder output and, unless --decoder-layer-dropout "
            "is given, between decoder layers (default: --dropout)"
        },
    )
    # not an option, because fairseq creates none for interpolated values
    max_target_positions: Optional[int] = II("oc.select:task.max_target_positions,null")

    @property
    def cutoffs(self) -> Optional[list[int]]:
        """Cutoffs of the adaptive softmax, or None with the standard softmax.

        Raises:
            ValueError: --adaptive-softmax-cutoff is not a list of increasing numbers.
        """
        if self.criterion_name != "adaptive_loss":
            return None
        return read_cutoffs("adaptive_softmax_cutoff", self.adaptive_softmax_cutoff)


def option_values(config: type[FairseqDataclass], args: Any) -> dict[str, Any]:
    """The values of all options of `config`; options missing in `args` get their defaults.

    Args:
        config: the dataclass of the model.
        args: an instance of that dataclass, its `DictConfig`, or a `Namespace`.
    """
    if isinstance(args, Namespace):
        args = config.from_namespace(args)
    values = {}
    for option in fields(config):
        if option.name == "_name":  # fairseq's field for the architecture
            continue
        try:
            value = getattr(args, option.name)
        except (AttributeError, InterpolationResolutionError):
            value = option.default
        # an unresolved reference to another part of the configuration counts as None
        value = None if str(value).startswith("${") else value
        if value is None and type(None) not in get_args(option.type):
            value = option.default
        # fairseq's choices are enums of classes without a name, which cannot be pickled
        values[option.name] = value.value if isinstance(value, Enum) else value
    return values


def read_cutoffs(option: str, value: Any) -> list[int]:
    """The cutoffs of an adaptive softmax or of adaptive embeddings.

    Raises:
        ValueError: the value is not a list of increasing numbers.
    """
    try:  # like fairseq, but without eval(): the value may come from an untrusted checkpoint
        values = literal_eval(str(value))
        cutoffs = list(map(int, values if isinstance(values, Iterable) else [values]))
    except (ValueError, TypeError, SyntaxError):
        cutoffs = []
    if not cutoffs or any(a >= b for a, b in pairwise([0, *cutoffs])):
        raise ValueError(
            f"{flag(option)} {value}: give whole numbers separated by commas, each larger than the "
            "one before, such as 2000,10000"
        )
    return cutoffs


def described_cell(cfg: CellOptions, name: str) -> Cell:
    """The cell with this name, as the options describe it.

    --window applies to the cells that can have one.
    """
    cell = get_cell(name, coupled_gates=cfg.coupled_gates)
    try:
        return cell if cfg.window is None else cell.with_window(cfg.window)
    except ValueError:  # this side's cell has one window only; `check_cells` refuses other mistakes
        return cell


def first(*values: Value | None) -> Value:
    """The first value that is not None."""
    return next(value for value in values if value is not None)


def flag(option: str) -> str:
    """The option as written on the command line."""
    return "--" + option.replace("_", "-")
