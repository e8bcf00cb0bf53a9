"""Options shared by the models, and functions that read fairseq's configuration."""

from argparse import SUPPRESS, Namespace
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Optional, Self, TypeVar, get_args

from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.tasks.translation import TranslationTask
from fairseq.utils import eval_str_list
from omegaconf import II
from omegaconf.errors import InterpolationResolutionError

from ... import recurrence
from ...cells import CELLS, Cell, get_cell
from .fields import check_limits, option, probability, size

# fairseq's dataclass machinery needs annotations that are types and supports `Optional` only, so
# this file uses neither `int | None` nor `from __future__ import annotations`.
# ruff: noqa: UP045

Value = TypeVar("Value")

TRUE = ("1", "true", "yes", "on")  # values of options, in lower case
FALSE = ("0", "false", "no", "off")
MAX_POSITIONS = 100_000  # fairseq needs a limit; the models have none


def cell_option(default: str | None, help: str) -> Any:
    """An option that is the name of a cell."""
    cure = ", or give the folder that defines this cell with --user-dir"
    return option(default, help, one_of=lambda: CELLS, cure=cure)


_CELLS_WITH_TITLES = ", ".join(f"{name} ({cell.title})" for name, cell in CELLS.items())
CELL_HELP = f"cell of all layers: {_CELLS_WITH_TITLES}, or a registered cell"


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


@dataclass
class CellOptions(FairseqDataclass):
    """The options of all models: for the cell and the backend."""

    cell: str = cell_option("lstm", CELL_HELP)
    coupled_gates: bool = option(False, "f = 1 - i, in the LSTM and its ablations")
    window: Optional[int] = option(None, "inputs that a step of a qrnn reads: 1 (default) or 2")
    lstm_backend: str = option(
        "auto",
        f"backend of the LSTM: {', '.join(recurrence.choices())}",
        one_of=recurrence.choices,
        cure=", or give the folder that registers this backend with --user-dir",
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

    @classmethod
    def read(cls, args: Any) -> Self:
        """All options, checked; those that are missing in `args` get their defaults.

        Args:
            args: an instance of this dataclass, its `DictConfig`, or a `Namespace`.

        Raises:
            ValueError: an option has an invalid value, or no cell can have the --window.
        """
        if isinstance(args, Namespace):
            args = cls.from_namespace(args)
        values = {}
        for one in fields(cls):
            if one.name == "_name":  # fairseq's field for the architecture
                continue
            try:
                value = getattr(args, one.name)
            except (AttributeError, InterpolationResolutionError):
                value = one.default
            # an unresolved reference to another part of the configuration counts as None
            value = None if str(value).startswith("${") else value
            if value is None and type(None) not in get_args(one.type):
                value = one.default
            # fairseq's choices are enums of classes without a name, which cannot be pickled
            values[one.name] = value.value if isinstance(value, Enum) else value
        cfg = cls(**values)
        check_limits(cls, cfg)
        sides = (getattr(cfg, f"{side}_cell", None) for side in ("encoder", "decoder"))
        cells = [described_cell(cfg, first(name, cfg.cell)) for name in sides]
        if cfg.window is not None and cfg.window not in {cell.window for cell in cells}:
            cells[0].with_window(cfg.window)  # which says why not
        return cfg


@dataclass
class LSTMOptions(CellOptions):
    """The options that the translation model and the language model share."""

    residuals: bool = option(
        False, "add each LSTM layer's input to its output, from the second layer on"
    )
    init_range: float = option(
        0.1,
        "draw all parameters uniformly from [-R, R], except those for which minlstm and sru "
        "prescribe other values",
    )
    share_decoder_input_output_embed: bool = option(
        False,
        "share decoder input and output embeddings (no effect with the adaptive_loss criterion, "
        "whose adaptive softmax has its own)",
    )
    adaptive_softmax_cutoff: Optional[str] = option(
        "10000,50000,200000",
        "comma separated list of adaptive softmax cutoff points. Only used with the adaptive_loss "
        "criterion",
    )
    decoder_embed_path: Optional[str] = option(None, "path to pre-trained decoder embedding")
    decoder_freeze_embed: bool = option(False, "freeze decoder embeddings")
    decoder_hidden_size: Optional[int] = size(
        None, "decoder hidden size (default: --decoder-embed-dim)"
    )
    decoder_dropout_out: Optional[float] = probability(
        None,
        "dropout probability for decoder output and, unless --decoder-layer-dropout is given, "
        "between decoder layers (default: --dropout)",
    )
    # not an option, because fairseq creates none for interpolated values
    max_target_positions: Optional[int] = II("oc.select:task.max_target_positions,null")

    # `Any`, as only the subclasses have all of the fields
    def side(self: Any, name: str, *, dropout_in: float, dropout_out: float) -> Side:
        """The options of the encoder or the decoder.

        Args:
            name: `encoder` or `decoder`.
            dropout_in, dropout_out: the defaults of these options.
        """

        def given(option: str) -> Any:
            return getattr(self, f"{name}_{option}", None)

        return Side(
            cell=described_cell(self, first(given("cell"), self.cell)),
            embed_dim=given("embed_dim"),
            hidden_size=first(given("hidden_size"), given("embed_dim")),
            layers=given("layers"),
            dropout_in=first(given("dropout_in"), dropout_in),
            dropout_out=first(given("dropout_out"), dropout_out),
            layer_dropout=first(given("layer_dropout"), given("dropout_out"), self.dropout),
        )

    @property
    def shares_output(self: Any) -> bool:
        """Whether the output embedding is the decoder's input embedding."""
        shared = self.share_decoder_input_output_embed or getattr(
            self, "share_all_embeddings", False
        )
        return shared and self.cutoffs is None  # an adaptive softmax has its own embeddings

    @property
    def out_embed_dim(self: Any) -> int:
        """The size of the output embedding."""
        own = self.decoder_embed_dim if self.shares_output else self.features
        return first(self.decoder_out_embed_dim, own)

    def check_sharing(self: Any) -> None:
        """Check that the output embedding can be the decoder's input embedding.

        Raises:
            ValueError: their sizes differ.
        """
        if self.shares_output and self.decoder_embed_dim != self.out_embed_dim:
            raise ValueError(
                f"sharing the output embedding requires --decoder-embed-dim "
                f"{self.decoder_embed_dim} to match --decoder-out-embed-dim {self.out_embed_dim}"
            )

    @property
    def cutoffs(self) -> Optional[list[int]]:
        """Cutoffs of the adaptive softmax, or None with the standard softmax."""
        if self.criterion_name != "adaptive_loss":
            return None
        return eval_str_list(self.adaptive_softmax_cutoff, int)


def described_cell(cfg: CellOptions, name: str) -> Cell:
    """The cell with this name, as the options describe it.

    --window applies to the cells that can have one.
    """
    cell = get_cell(name, coupled_gates=cfg.coupled_gates)
    try:
        return cell if cfg.window is None else cell.with_window(cfg.window)
    except ValueError:  # see `CellOptions.read`
        return cell


def first(*values: Value | None) -> Value:
    """The first value that is not None."""
    return next(value for value in values if value is not None)


def check_task(task: FairseqTask, arch: str) -> None:
    """Check that a language model, whose name ends in `_lm`, is not trained by translation.

    Nor may another model be trained by language modelling.

    Raises:
        ValueError: the task does not suit the model.
    """
    if arch.endswith("_lm") and isinstance(task, TranslationTask):
        raise ValueError(
            f"--arch {arch} is a language model: give --task language_modeling or "
            f"wsum_language_modeling, or for translation --arch {arch.removesuffix('_lm')}"
        )
    if not arch.endswith("_lm") and isinstance(task, LanguageModelingTask):
        raise ValueError(
            f"--arch {arch} is a translation model: give --task translation, or for a language "
            f"model --arch {arch}_lm"
        )
