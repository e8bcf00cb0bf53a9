"""Options shared by the models, and functions that read and check fairseq's configuration."""

from argparse import SUPPRESS, Namespace
from ast import literal_eval
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, Optional, TypeVar

from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.tasks.translation import TranslationTask
from omegaconf import II, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from ... import backends
from ...cells import CELLS, Cell, get_cell

# fairseq's dataclass machinery needs annotations that are types and supports `Optional` only, so
# this file uses neither `int | None` nor `from __future__ import annotations`.
# ruff: noqa: UP045

Value = TypeVar("Value")

MAX_POSITIONS = 100_000  # fairseq needs a limit; the models have none

# the advice for a checkpoint and data with different dictionaries
TAKE_ITS_DICTIONARY = (
    "give the data that the model was trained with, or prepare yours with its vocabulary "
    "(prepare_multi30k.sh --like FOLDER, or for text in the same units fairseq-preprocess "
    "--srcdict, --tgtdict)"
)

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
    """The options for the cell and the backend."""

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


@dataclass
class LSTMOptions(CellOptions):
    """The options for the cell, the backend, the initial values and the output layer."""

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
    # not options, because fairseq creates none for interpolated values
    max_target_positions: Optional[int] = II("oc.select:task.max_target_positions,null")
    criterion_name: Optional[str] = II("oc.select:criterion._name,null")  # of --criterion

    @classmethod
    def from_namespace(cls, args: Any) -> "LSTMOptions":
        """Extend fairseq's method, which misses --criterion: a Namespace has it as `criterion`."""
        config: LSTMOptions = super().from_namespace(args)
        if isinstance(args, Namespace) and str(config.criterion_name).startswith("${"):
            config.criterion_name = getattr(args, "criterion", None)
        return config

    @property
    def cutoffs(self) -> Optional[list[int]]:
        """Cutoffs of the adaptive softmax, or None with the standard softmax.

        Raises:
            ValueError: --adaptive-softmax-cutoff is not a list of increasing numbers.
        """
        if self.criterion_name != "adaptive_loss":
            return None
        return read_cutoffs("adaptive_softmax_cutoff", self.adaptive_softmax_cutoff)


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


def check_cutoffs(option: str, cutoffs: Sequence[int], dictionary: Dictionary) -> None:
    """Check that the cutoffs are within the dictionary.

    Raises:
        ValueError: one is larger.
    """
    if cutoffs[-1] > len(dictionary):
        raise ValueError(
            f"{flag(option)} {','.join(map(str, cutoffs))}: a cutoff is larger than the "
            f"dictionary, which has {len(dictionary)} entries; give smaller ones"
        )


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
        values[option.name] = None if str(value).startswith("${") else value
    return values


def check_options(cfg: LSTMOptions, cell_options: Sequence[str], sizes: Sequence[str]) -> None:
    """Check the options that the models with LSTMs share.

    Args:
        cfg: the options.
        cell_options: names of the options that choose the cells.
        sizes: names of the options that are sizes.

    Raises:
        ValueError: an option is invalid; the message names it.
    """
    check_cells(cfg, cell_options)
    check_sizes(cfg, sizes)
    check_probabilities(cfg)
    if not cfg.init_range > 0:
        raise ValueError(f"--init-range {cfg.init_range}: give a number larger than 0")


def check_cells(cfg: CellOptions, cell_options: Sequence[str]) -> None:
    """Check the options of `CellOptions`, and the options `cell_options` that choose cells.

    Raises:
        ValueError: an option is invalid; the message names it.
    """
    for option in ("cell", *cell_options):
        name = getattr(cfg, option)
        if name is not None and name not in CELLS:
            raise ValueError(
                f"{flag(option)} {name}: choose one of {', '.join(CELLS)}, or give the folder that "
                "defines this cell with --user-dir"
            )
    chosen = {
        option if getattr(cfg, option) else "cell": first(getattr(cfg, option), cfg.cell)
        for option in cell_options
    }
    for option, name in chosen.items():
        try:
            get_cell(name, coupled_gates=cfg.coupled_gates)
        except ValueError as error:
            raise ValueError(f"{flag(option)} {name}: {error}") from None
    if cfg.window is not None:
        _check_window(cfg, list(chosen.values()))
    if cfg.lstm_backend not in backends.choices():
        raise ValueError(
            f"--lstm-backend {cfg.lstm_backend}: choose one of {', '.join(backends.choices())}, "
            "or give the folder that registers this backend with --user-dir"
        )


def check_sizes(cfg: FairseqDataclass, sizes: Sequence[str]) -> None:
    """Check that the options `sizes` are at least 1, where they are given.

    Raises:
        ValueError: one is not; the message names it.
    """
    for option in sizes:
        if getattr(cfg, option) is not None and getattr(cfg, option) < 1:
            raise ValueError(f"{flag(option)} {getattr(cfg, option)}: give at least 1")


def check_probabilities(cfg: FairseqDataclass) -> None:
    """Check that all numbers with "dropout" or "layerdrop" in their name are probabilities.

    Raises:
        ValueError: one is not; the message names it.
    """
    for option, value in vars(cfg).items():
        named = "dropout" in option or option.endswith("layerdrop")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if named and is_number and not 0 <= value <= 1:
            raise ValueError(f"{flag(option)} {value}: give a probability from 0 to 1")


def _check_window(cfg: CellOptions, cells: Sequence[str]) -> None:
    """Check that at least one of the cells can have the window."""
    problems = {}
    for name in cells:
        try:
            get_cell(name, window=cfg.window)
        except ValueError as error:
            problems[name] = str(error)
    if len(problems) == len(set(cells)):
        reasons = "; ".join(problems.values())
        cure = "Give 1 or 2" if "qrnn" in cells else "Omit this option, or use --cell qrnn"
        raise ValueError(f"--window {cfg.window}: {reasons}. {cure}")


def described_cell(cfg: CellOptions, name: str) -> Cell:
    """The cell with this name, as the options describe it.

    --window applies to the cells that can have one.
    """
    cell = get_cell(name, coupled_gates=cfg.coupled_gates)
    try:
        return cell if cfg.window is None else cell.with_window(cfg.window)
    except ValueError:
        return cell


def check_sharing(**sizes: int | None) -> None:
    """Check that the output embedding can be the input embedding.

    Args:
        sizes: of the input embedding and of the output embedding, by option.

    Raises:
        ValueError: their sizes differ.
    """
    (one, size), (other, output_size) = sizes.items()
    if size != output_size:
        raise ValueError(
            f"sharing the output embedding requires {flag(one)} {size} to match {flag(other)} "
            f"{output_size}"
        )


def check_joined(source: Dictionary, target: Dictionary, arch: str) -> None:
    """Check that the source and the target can share their embeddings.

    Raises:
        ValueError: they have different dictionaries.
    """
    if source != target:
        raise ValueError(
            f"--share-all-embeddings (part of --arch {arch}_multi30k) requires a joined "
            "dictionary: prepare the data with fairseq-preprocess --joined-dictionary"
        )


def check_language_modeling(task: FairseqTask, arch: str) -> None:
    """Check that the task of a language model is not translation.

    Raises:
        ValueError: the task is translation.
    """
    if isinstance(task, TranslationTask):
        raise ValueError(
            f"--arch {arch} is a language model: give --task language_modeling or "
            f"wsum_language_modeling, or for translation --arch {arch.removesuffix('_lm')}"
        )


def check_translation(task: FairseqTask, arch: str) -> None:
    """Check that the task of a translation model is not language modelling.

    Raises:
        ValueError: the task is language modelling.
    """
    if isinstance(task, LanguageModelingTask):
        raise ValueError(
            f"--arch {arch} is a translation model: give --task translation, or for a language "
            f"model --arch {arch}_lm"
        )


def refuse_alignments(generation: Any) -> None:
    """Check that decoding needs no attention over the source, for a model that has none.

    Args:
        generation: fairseq's options of the group `generation`.

    Raises:
        ValueError: --print-alignment or --replace-unk is given.
    """
    for option in ("replace_unk", "print_alignment"):
        if getattr(generation, option, None) is not None:
            raise ValueError(
                f"{flag(option)} needs attention over the source, which this model does not have: "
                "omit the option"
            )


def first(*values: Value | None) -> Value:
    """The first value that is not None."""
    return next(value for value in values if value is not None)


def flag(option: str) -> str:
    """The option as written on the command line."""
    return "--" + option.replace("_", "-")


def use_preset(args: Any, name: str, **values: Any) -> None:
    """Set options that were not given to the values of a named architecture (a preset).

    fairseq calls a preset twice: when it parses the command line, and before it builds the model.
    By the second call all options have values, so it has no effect. fairseq-hydra-train makes the
    second call only.

    Raises:
        ValueError: fairseq-hydra-train was given the name of a preset.
    """
    if OmegaConf.is_config(args) and "preset" in args and args.preset is None:
        raise ValueError(
            f"model._name={name}: presets have no effect with fairseq-hydra-train, because it sets "
            "all defaults before it reads the name; give the model's own name and set the "
            "options explicitly, as the .yaml files in examples do"
        )
    default(args, preset=name, **values)


def default(args: Any, **values: Any) -> None:
    """Set options that were not given."""
    for option, value in values.items():
        if getattr(args, option, None) is None:
            setattr(args, option, value)
