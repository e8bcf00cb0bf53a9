"""Loading the model of a checkpoint, for programs that run it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from fairseq import checkpoint_utils, utils


def load_model(
    checkpoint: Path,
    device: str = "cpu",
    user_dir: Path | str | None = None,
    data: Path | str | None = None,
) -> tuple[Any, Any, Any]:
    """The model of a checkpoint in inference mode, its configuration and its task.

    Args:
        checkpoint: the checkpoint.
        device: where the model is to run.
        user_dir: a package with code of the model, such as its cell.
        data: the folder with its dictionaries; by default the data of its training.

    Raises:
        OSError, RuntimeError, ValueError: a file is missing or not usable.
    """
    if user_dir is not None:
        utils.import_user_module(Namespace(user_dir=str(user_dir)))
    # Neither the files from which the embeddings came are needed, nor the training's backend.
    overrides = {"encoder_embed_path": None, "decoder_embed_path": None, "lstm_backend": "auto"}
    if data is not None:
        overrides["data"] = str(data)
    try:
        (model,), cfg, task = checkpoint_utils.load_model_ensemble_and_task(
            [str(checkpoint)], arg_overrides=overrides
        )
    except FileNotFoundError as error:
        raise ValueError(f"{error}; dictionaries are found by --data") from error
    return model.to(device).eval(), cfg, task
