"""Checkpoints: safe to read, written atomically, and checked before training resumes."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.file_io import PathManager
from fairseq.tasks import FairseqTask
from omegaconf import DictConfig, OmegaConf

from ...checkpoint_files import allowed, damage, languages, read, task_options

logger = logging.getLogger(__name__)

# Options of this package's models that choose the cell. Some cells have weights of equal shapes.
_CELLS = {"cell", "encoder_cell", "decoder_cell", "coupled_gates", "window"}
# Options of fairseq's and this package's models that change what a model computes, but neither the
# names nor the shapes of its weights.
_WITHOUT_WEIGHTS = _CELLS | {
    "activation_fn",
    "decoder_normalize_before",
    "decoder_attention_heads",
    "encoder_attention_heads",
    "merge_src_tgt_embed",
    "no_scale_embedding",
    "no_token_positional_embeddings",
    "pooling",
    "residuals",
    "share_all_embeddings",
    "share_decoder_input_output_embed",
    "token_positional_embeddings",
}

_PRECISIONS = {"fp16", "bf16", "amp", "memory_efficient_fp16", "memory_efficient_bf16"}


def apply() -> None:
    """Apply the shims of this file."""
    torch.serialization.add_safe_globals(allowed())  # torch.load rejects these types otherwise
    _write_whole_files()
    _check_before_resuming()
    _check_before_loading()


def _write_whole_files() -> None:
    """Write checkpoints atomically.

    If a write fails, fairseq tries again twice, but behind the part that it has written, so a disk
    that was full for a moment leaves a damaged file without a message. Here each try begins anew.
    fairseq copies a checkpoint to checkpoint_best.pt and checkpoint_last.pt in place
    (checkpoint_utils.py). If the process is killed or the disk is full, a partial file is left.
    This shim writes a copy to a temporary file and renames it, as fairseq does for the checkpoint
    itself. Both are flushed to disk before the rename, and partial files are removed.
    """
    copy, rename = PathManager.copy, PathManager.rename
    torch_persistent_save = checkpoint_utils.torch_persistent_save

    def copy_whole(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        if PathManager.path_requires_pathmanager(dst_path):  # not a local file system
            return bool(copy(src_path, dst_path, overwrite))
        partial = f"{dst_path}.tmp"
        try:
            shutil.copyfile(src_path, partial)
            rename_when_on_disk(partial, dst_path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        return True

    def rename_when_on_disk(src: str, dst: str) -> None:
        with open(src, "rb") as file:
            os.fsync(file.fileno())
        rename(src, dst)

    @functools.wraps(torch_persistent_save)
    def save_whole(obj: Any, filename: str, *args: Any, **kwargs: Any) -> None:
        try:
            torch_persistent_save(obj, filename, *args, **kwargs)
        except BaseException:
            Path(f"{filename}.tmp").unlink(missing_ok=True)
            raise

    def persist(obj: Any, file: Any) -> None:
        begin = file.tell()
        for left in (2, 1, 0):
            try:
                file.seek(begin)
                file.truncate()
                return torch.save(obj, file)
            except Exception:
                if not left:
                    raise
                time.sleep(2.5)

    PathManager.copy = staticmethod(copy_whole)
    PathManager.rename = staticmethod(rename_when_on_disk)
    checkpoint_utils._torch_persistent_save = persist
    checkpoint_utils.torch_persistent_save = save_whole


def _check_before_resuming() -> None:
    """Check a checkpoint before training resumes from it.

    With a damaged checkpoint_last.pt fairseq fails with a bare EOFError (checkpoint_utils.py). If
    the file of --restore-file is missing, it starts anew and overwrites the checkpoints in the
    folder. If the weights have the same shapes, as with another cell or other attention heads, or
    in the other direction of translation, it continues without a message. It saves the languages
    only if they were given, and not those that it finds in the data. And it checks --max-update
    after an update alone, so a finished training would get one more.
    """
    load_checkpoint = checkpoint_utils.load_checkpoint

    @functools.wraps(load_checkpoint)
    def load_tested_checkpoint(cfg: CheckpointConfig, trainer: Any, **kwargs: Any) -> Any:
        if trainer.data_parallel_rank == 0:  # only this process reads the file
            _check(cfg, trainer)
        if pair := languages(_values(trainer.task.cfg)):
            trainer.cfg.task.source_lang, trainer.cfg.task.target_lang = pair
        found = load_checkpoint(cfg, trainer, **kwargs)
        limit = trainer.cfg.optimization.max_update
        if 0 < limit <= trainer.get_num_updates():
            logger.info("the training has had its %d updates (--max-update)", limit)
            trainer.cfg.optimization.max_epoch = -1  # no epoch begins
        return found

    checkpoint_utils.load_checkpoint = load_tested_checkpoint


def _check(cfg: CheckpointConfig, trainer: Any) -> None:
    """Check the checkpoint from which fairseq starts, if there is one."""
    suffix = trainer.checkpoint_suffix
    last = Path(cfg.save_dir, f"checkpoint_last{suffix}.pt")
    option, name = _loaded(cfg, last, suffix)
    path = Path(name)
    if not path.is_file():
        is_last = path.resolve() == last.resolve()  # which a new training lacks
        starts_anew = option == "--restore-file" and not is_last
        if starts_anew and not PathManager.exists(name):  # it may be a URL
            raise ValueError(
                f"{option} {name}: no such file, so training would start anew. Give an existing "
                "file, or leave the option out"
            )
        return
    if (problem := damage(path)) is not None:
        if option == "--finetune-from-model":
            raise ValueError(f"{option} {path} cannot be used: {problem}")
        raise ValueError(
            f"{path} is damaged: {problem}. Move it away: scripts/train.sh and the recipes then "
            "continue from the newest intact checkpoint in the folder"
        )
    starts_anew = option == "--finetune-from-model" or cfg.reset_optimizer
    resumes = option == "--save-dir" or not starts_anew
    state = read(path, mmap=True)
    if resumes and not cfg.reset_optimizer and state.get("last_optimizer_state") is None:
        raise ValueError(
            f"{path} has no state of the optimiser, as with --no-save-optimizer-state, so training "
            f"would begin its schedule again: give --finetune-from-model {path} and a new "
            "--save-dir, or --reset-optimizer --reset-lr-scheduler"
        )
    theirs = _other_options(state, trainer, resumes)
    if theirs:
        cure = "give a new --save-dir, or " if option == "--save-dir" else ""
        raise ValueError(
            f"{path} is a checkpoint of another model: {cure}give the options of that model: "
            + ", ".join(theirs)
        )


def _loaded(cfg: CheckpointConfig, last: Path, suffix: str) -> tuple[str, str]:
    """The option that names what fairseq loads before training, and the file or URL."""
    if cfg.restore_file != "checkpoint_last.pt":
        return "--restore-file", str(cfg.restore_file.replace(".pt", f"{suffix}.pt"))
    once = getattr(cfg, "continue_once", None)
    if not last.is_file() and once is not None:
        return "--continue-once", str(once)
    if not last.is_file() and cfg.finetune_from_model is not None:
        return "--finetune-from-model", str(cfg.finetune_from_model)
    return "--save-dir", str(last)


def _other_options(state: dict[str, Any], trainer: Any, resumes: bool) -> list[str]:
    """The options in a checkpoint that a training lacks, of those that change no weight's shape.

    A new training may start from the weights with other options, but not with another cell.
    """
    saved, own = state.get("cfg") or {}, trainer.cfg
    if not resumes:
        return _other_values("model", _CELLS, saved, own)
    if other := _other_name("model", "--arch", saved, own):
        return other
    other = _other_values("model", _WITHOUT_WEIGHTS, saved, own)
    if not own.checkpoint.reset_optimizer:
        # fairseq compares the classes of optimisers, which are equal in 16 bits
        other += _other_name("optimizer", "--optimizer", saved, own)
        other += _other_values("common", _PRECISIONS, saved, own)
    pair = _other_direction(state, trainer.task.cfg)
    return [*other, *(_as_options(pair) if pair else [])]


def _other_name(part: str, option: str, saved: Mapping[str, Any], own: Any) -> list[str]:
    """The option for the name of a part of the options, such as the model, if it differs."""
    theirs, ours = _values(saved.get(part)), _values(getattr(own, part))
    other = theirs and theirs.get("_name") != ours.get("_name")
    return [f"{option} {theirs.get('_name')}"] if other else []


def _other_values(part: str, names: Set[str], saved: Mapping[str, Any], own: Any) -> list[str]:
    """The options with these names that differ in a part of the options."""
    theirs, ours = _values(saved.get(part)), _values(getattr(own, part))
    both = sorted(names & theirs.keys() & ours.keys())
    return [_as_given(name, theirs[name]) for name in both if theirs[name] != ours[name]]


def _values(options: Any) -> dict[str, Any]:
    """The options of a model or a task by name."""
    if isinstance(options, DictConfig):
        options = OmegaConf.to_container(options, resolve=True, enum_to_str=True)  # as in the file
    return vars(options) if hasattr(options, "__dict__") else options or {}


def _as_given(name: str, value: Any) -> str:
    """How the command line gives an option this value, such as --cell lstm or no --residuals."""
    option = "--" + name.replace("_", "-")
    if value is None or isinstance(value, bool):
        return option if value else f"no {option}"
    return f"{option} {value}"


def _other_direction(state: dict[str, Any], options: Any) -> tuple[str, str] | None:
    """The languages of a checkpoint if its model translates the other way than a task's options."""
    found, wanted = languages(task_options(state)), languages(_values(options))
    return found if found is not None and wanted == found[::-1] else None


def _as_options(pair: tuple[str, str]) -> list[str]:
    return [f"--source-lang {pair[0]}", f"--target-lang {pair[1]}"]


def _check_before_loading() -> None:
    """Check checkpoints before fairseq-generate, fairseq-interactive and fairseq-eval-lm load them.

    torch.load (checkpoint_utils.py) does not notice a changed byte in the weights, and its errors
    for a truncated file do not name the file. A data folder serves both directions of translation,
    and fairseq takes its first: with a joined dictionary, a model of the other direction translates
    the wrong text without a message.
    """
    load_model_ensemble_and_task = checkpoint_utils.load_model_ensemble_and_task

    @functools.wraps(load_model_ensemble_and_task)
    def load_tested_models(
        filenames: Sequence[str],
        arg_overrides: dict[str, Any] | None = None,
        task: FairseqTask | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        options = arg_overrides or {} if task is None else task.cfg
        for path in filter(Path.is_file, map(Path, filenames)):
            problem = damage(path)
            if problem is not None:
                raise ValueError(f"{path} cannot be used: {problem}")
            if (pair := _other_direction(read(path, mmap=True), options)) is not None:
                raise ValueError(
                    f"{path} translates from {pair[0]} to {pair[1]}: give "
                    + " ".join(_as_options(pair))
                )
        return load_model_ensemble_and_task(filenames, arg_overrides, task, *args, **kwargs)

    checkpoint_utils.load_model_ensemble_and_task = load_tested_models
