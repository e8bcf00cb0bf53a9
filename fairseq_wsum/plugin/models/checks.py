"""Checks of the options that models share. Their errors name the option and the cure."""

from collections.abc import Sequence
from typing import Any

from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.tasks.translation import TranslationTask

from ... import backends
from ...cells import CELLS, get_cell
from .options import CellOptions, LSTMOptions, first, flag


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


def check_criterion(cfg: Any) -> None:
    """Check that a Transformer has an adaptive softmax if the criterion needs one.

    Raises:
        ValueError: it has none.
    """
    if cfg.criterion_name == "adaptive_loss" and not cfg.adaptive_softmax_cutoff:
        raise ValueError(
            "--criterion adaptive_loss needs --adaptive-softmax-cutoff, such as 2000,10000"
        )


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


def refuse_alignments_of_language_model(generation: Any) -> None:
    """`refuse_alignments`, unless the model decodes beside a translation model (--lm-path).

    Then the alignments are those of the translation model.

    Raises:
        ValueError: --print-alignment or --replace-unk is given.
    """
    if getattr(generation, "lm_path", None) is None:
        refuse_alignments(generation)
