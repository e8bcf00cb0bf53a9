"""Reading the model of a checkpoint."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from .files import PACKAGE, UserError
from .folder import import_fairseq


def load_model(
    checkpoint: Path, arch: str, *, data: Path | None, cpu: bool, user_dir: str
) -> tuple[Any, Any]:
    """The model of a checkpoint and its task.

    Args:
        checkpoint: the checkpoint.
        arch: the name of its architecture.
        data: the folder with its dictionaries; by default the data of its training.
        cpu: whether not to use a GPU.
        user_dir: the package with its cell.

    Raises:
        UserError: the checkpoint cannot be read, or has another model.
    """
    import_fairseq()
    import torch
    from fairseq import checkpoint_utils, utils

    from .. import plugin  # noqa: F401  registers the task and the model

    if user_dir != str(PACKAGE):
        utils.import_user_module(Namespace(user_dir=user_dir))
    overrides: dict[str, Any] = {"encoder_embed_path": None, "lstm_backend": "auto"}
    overrides |= {} if data is None else {"data": str(data)}
    try:
        (model,), cfg, task = checkpoint_utils.load_model_ensemble_and_task(
            [str(checkpoint)], arg_overrides=overrides
        )
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the model {checkpoint}: {error}") from error
    if cfg.model._name != arch:
        raise UserError(f"{checkpoint} is no model of --arch {arch}")
    return model.to("cuda" if torch.cuda.is_available() and not cpu else "cpu").eval(), task
