"""Checkpoints: safe to read, written atomically, and checked before training resumes."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.file_io import PathManager
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.tasks import FairseqTask
from omegaconf import DictConfig, OmegaConf

from ...checkpoint_files import allowed, damage, languages, newest, read

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
    "residuals",
    "share_all_embeddings",
    "share_decoder_input_output_embed",
    "token_positional_embeddings",
}


def apply() -> None:
    """Apply the shims of this file."""
    torch.serialization.add_safe_globals(allowed())  # torch.load rejects these types otherwise
    _write_whole_files()
    _check_before_resuming()
    _check_before_loading()


def _write_whole_files() -> None:
    """Write checkpoints atomically.

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

    PathManager.copy = staticmethod(copy_whole)
    PathManager.rename = staticmethod(rename_when_on_disk)
    checkpoint_utils.torch_persistent_save = save_whole


def _check_before_resuming() -> None:
    """Check a checkpoint before training resumes from it.

    With a damaged checkpoint_last.pt fairseq fails with a bare EOFError (checkpoint_utils.py). If
    the file of --restore-file is missing, it starts anew and overwrites the checkpoints in the
    folder. If the file is of another model, its message names no option; and if the weights have
    the same shapes, such as those of a model with other attention heads, it continues without a
    message. It also continues in the other direction of translation.
    """
    load_checkpoint = checkpoint_utils.load_checkpoint

    @functools.wraps(load_checkpoint)
    def load_tested_checkpoint(cfg: CheckpointConfig, trainer: Any, **kwargs: Any) -> Any:
        suffix = trainer.checkpoint_suffix
        if trainer.data_parallel_rank == 0:  # only this process reads the file
            _check(cfg, suffix)
            _check_model(cfg, suffix, trainer.cfg.model)
            _check_direction(cfg, suffix, trainer.task)
        try:
            return load_checkpoint(cfg, trainer, **kwargs)
        except Exception as error:
            if "ensure that the architectures match" not in str(error):
                raise
            cause, model = error.__context__, trainer.cfg.model
            raise ValueError(_mismatch(cause, *_loaded(cfg, suffix), model)) from error

    checkpoint_utils.load_checkpoint = load_tested_checkpoint


def _check_model(cfg: CheckpointConfig, suffix: str, model: DictConfig | Namespace) -> None:
    """Check the options that fairseq cannot check by loading the weights of a training."""
    option, name = _loaded(cfg, suffix)
    found = _other_options(Path(name), model)
    # a new training may start from the weights with other options, but not with another cell
    if found.keys() & (_WITHOUT_WEIGHTS if _continues(cfg, option) else _CELLS):
        raise ValueError(_of_another_model(option, name, found.values()))


def _check_direction(cfg: CheckpointConfig, suffix: str, task: FairseqTask) -> None:
    option, name = _loaded(cfg, suffix)
    if _continues(cfg, option) and Path(name).is_file():
        pair = _other_direction(Path(name), task.cfg)
        if pair is not None:
            cure = "give a new --save-dir, or " if option == "--save-dir" else ""
            raise ValueError(
                f"{name} translates from {_from_to(pair)}: {cure}{_with_options(pair)}"
            )


def _continues(cfg: CheckpointConfig, option: str) -> bool:
    """Whether the training from which fairseq loads continues."""
    return option == "--save-dir" or (option == "--restore-file" and not cfg.reset_optimizer)


def _other_direction(path: Path, options: Any) -> tuple[str, str] | None:
    """The languages of a checkpoint if its model translates the other way than a task's options."""
    found, wanted = languages(read(path, mmap=True)), languages({"cfg": {"task": options}})
    return found if found is not None and wanted == found[::-1] else None


def _from_to(pair: tuple[str, str]) -> str:
    return " to ".join(pair)


def _with_options(pair: tuple[str, str]) -> str:
    source, target = pair
    return f"give --source-lang {source} --target-lang {target}"


def _mismatch(
    cause: BaseException | None, option: str, name: str, model: DictConfig | Namespace
) -> str:
    """Why the weights in the file `name` do not suit the model, and the cure."""
    if isinstance(cause, ValueError):  # of this package, such as another dictionary
        return f"{name}: {cause}"
    tensors = str(cause).splitlines()[1:]  # after torch's title
    example = "".join(f" ({line.strip()})" for line in tensors[:1])
    return _of_another_model(option, name, _other_options(Path(name), model).values(), example)


def _of_another_model(option: str, name: str, options: Iterable[str], example: str = "") -> str:
    """The message about a checkpoint of a model with other options, or else with an example."""
    cure = "give a new --save-dir, or " if option == "--save-dir" else ""
    listed = ", ".join(options)
    example = f": {listed}" if listed else example
    return f"{name} is a checkpoint of another model: {cure}give the options of that model{example}"


def _other_options(path: Path, model: DictConfig | Namespace) -> dict[str, str]:
    """The options of a model in a file that another model does not have, such as --cell lstm."""
    if not path.is_file():  # a new training, or a URL
        return {}
    state = read(path, mmap=True)
    saved, given = map(_values, ((state.get("cfg") or {}).get("model", state.get("args")), model))
    theirs, ours = (ARCH_MODEL_REGISTRY.get(values.get("arch")) for values in (saved, given))
    if theirs is None or ours is not theirs:
        return {"arch": f"--arch {saved['arch']}"} if "arch" in saved else {}
    parser = ArgumentParser(add_help=False)
    theirs.add_args(parser)
    actions = {action.dest: action for action in parser._actions}
    changed = {name for name in saved.keys() & given.keys() if saved[name] != given[name]}
    if "token_positional_embeddings" in given:  # a model of this package, whose default is without
        changed.discard("no_token_positional_embeddings")
    presets = {}
    if saved.get("preset") != given.get("preset"):  # which sets most of the other options
        presets = {"arch": f"--arch {saved.get('preset') or saved['arch']}"}
        changed &= _WITHOUT_WEIGHTS
    named = sorted(changed & actions.keys())
    return presets | {name: _as_given(actions[name], saved[name]) for name in named}


def _as_given(action: Action, value: Any) -> str:
    """How the command line gives an option this value, such as --cell lstm or no --residuals."""
    option = action.option_strings[0]
    if action.nargs == 0:  # a flag
        return option if value == action.const else f"no {option}"
    return f"no {option}" if value is None else f"{option} {shlex.quote(str(value))}"


def _values(model: object) -> dict[str, Any]:
    """The options of a model by name; `arch` is its architecture."""
    if isinstance(model, Namespace):  # of a model without a dataclass
        return vars(model)
    if isinstance(model, DictConfig):
        model = OmegaConf.to_container(model, resolve=True, enum_to_str=True)  # as fairseq saves it
    return {**model, "arch": model.get("_name")} if isinstance(model, dict) else {}


def _check(cfg: CheckpointConfig, suffix: str) -> None:
    """Check the checkpoint from which fairseq starts, if there is one."""
    option, name = _loaded(cfg, suffix)
    path = Path(name)
    if path.is_file():
        problem = damage(path)
        if problem is None:
            return
        if option in ("--finetune-from-model", "--continue-once"):
            raise ValueError(f"{option} {path} cannot be used: {problem}")
        raise ValueError(f"{path} is damaged: {problem}. {_cure(path)}")
    if option in ("--restore-file", "--continue-once"):
        expected = path.resolve() == _last(cfg, suffix).resolve()  # a new training lacks it
        if not expected and not PathManager.exists(name):  # it may be a URL
            raise ValueError(
                f"{option} {name}: no such file, so training would start anew. Give an existing "
                "file, or leave the option out"
            )


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
            if (pair := _other_direction(path, options)) is not None:
                raise ValueError(f"{path} translates from {_from_to(pair)}: {_with_options(pair)}")
        return load_model_ensemble_and_task(filenames, arg_overrides, task, *args, **kwargs)

    checkpoint_utils.load_model_ensemble_and_task = load_tested_models


def _loaded(cfg: CheckpointConfig, suffix: str) -> tuple[str, str]:
    """The option that names what fairseq loads before training, and the file or URL."""
    if cfg.restore_file != "checkpoint_last.pt":
        return "--restore-file", str(cfg.restore_file.replace(".pt", f"{suffix}.pt"))
    last = _last(cfg, suffix)
    if not last.is_file():
        if getattr(cfg, "continue_once", None) is not None:
            return "--continue-once", str(cfg.continue_once)
        if cfg.finetune_from_model is not None:
            return "--finetune-from-model", str(cfg.finetune_from_model)
    return "--save-dir", str(last)


def _last(cfg: CheckpointConfig, suffix: str) -> Path:
    """The last checkpoint of the training itself."""
    return Path(cfg.save_dir, f"checkpoint_last{suffix}.pt")


def _cure(path: Path) -> str:
    found = newest(path.parent, leave_out=path)
    if found is None:
        return (
            "Training cannot resume from any other checkpoint in this folder. Nothing was deleted: "
            "give a new --save-dir to start again"
        )
    other, updates = found
    return (
        f"Nothing was deleted. The newest intact checkpoint in this folder is {other} "
        f"({updates} updates): resume from it with --restore-file {other}, this time only, or with "
        "scripts/train.sh --skip-damaged"
    )
