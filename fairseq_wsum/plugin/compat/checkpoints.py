"""Checkpoints: safe to read, written atomically, and checked before training resumes."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.file_io import PathManager

from ...checkpoint_files import allowed, damage, newest


def apply() -> None:
    """Apply the shims of this file."""
    torch.serialization.add_safe_globals(allowed())  # torch.load rejects these types otherwise
    _write_whole_files()
    _test_before_going_on()


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


def _test_before_going_on() -> None:
    """Check a checkpoint before training resumes from it.

    With a damaged checkpoint_last.pt fairseq fails with a bare EOFError (checkpoint_utils.py). If
    the file of --restore-file is missing, it starts anew and overwrites the checkpoints in the
    folder.
    """
    load_checkpoint = checkpoint_utils.load_checkpoint

    @functools.wraps(load_checkpoint)
    def load_tested_checkpoint(cfg: CheckpointConfig, trainer: Any, **kwargs: Any) -> Any:
        suffix = trainer.checkpoint_suffix
        name = _restored(cfg, suffix)
        path = Path(name)
        if trainer.data_parallel_rank == 0:  # only this process reads the file
            if path.is_file():
                what = damage(path)
                if what is not None:
                    raise ValueError(f"{path} is damaged: {what}. {_cure(path)}")
            elif path.resolve() != _last(cfg, suffix).resolve() and not PathManager.exists(name):
                raise ValueError(
                    f"--restore-file {cfg.restore_file}: no such file, so training would start "
                    "anew. Give an existing file, or leave the option out"
                )
        return load_checkpoint(cfg, trainer, **kwargs)

    checkpoint_utils.load_checkpoint = load_tested_checkpoint


def _restored(cfg: CheckpointConfig, suffix: str) -> str:
    """The file or URL from which fairseq resumes, if it exists."""
    if cfg.restore_file == "checkpoint_last.pt":
        return str(_last(cfg, suffix))
    return str(cfg.restore_file.replace(".pt", f"{suffix}.pt"))


def _last(cfg: CheckpointConfig, suffix: str) -> Path:
    """The last checkpoint of the training itself, which a new one lacks."""
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
