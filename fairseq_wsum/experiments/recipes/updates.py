"""Count the updates of a training without running it.

A learning rate that falls to zero at the end of a training needs their number, which fairseq takes
from --total-num-update.
"""

from __future__ import annotations

import argparse
import logging
import math
import warnings
from collections.abc import Sequence

from fairseq import options, tasks, utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import DictConfig

from ... import plugin  # noqa: F401  registers the models
from ..program import UserError
from ..train import command, read_options


def count_updates(given: Sequence[str]) -> int:
    """The number of updates in all epochs of a training with these options of scripts/train.sh."""
    args, rest = read_options([*given, "--dry-run"])
    processes, args.cpu_processes = args.cpu_processes, min(args.cpu_processes, 1)
    (_, *words), _ = command(args, rest)
    logging.disable(logging.INFO)  # fairseq's, of the data
    utils.import_user_module(args)
    try:
        with warnings.catch_warnings(action="ignore"):  # of fairseq's use of hydra
            parser = options.get_training_parser()
            parser.prog, parser.usage = "fairseq-train", argparse.SUPPRESS
            namespace = options.parse_args_and_arch(parser, input_args=words)
            cfg = convert_namespace_to_omegaconf(namespace)
        return _count(cfg, processes or cfg.distributed_training.distributed_world_size)
    except ValueError as error:  # the training would end with it, too
        raise UserError(f"the updates cannot be counted: {error}") from error
    finally:
        logging.disable(logging.NOTSET)


def _count(cfg: DictConfig, processes: int) -> int:
    """fairseq reads several data folders in turn, one in each epoch.

    In each update, each process has --update-freq batches. With --skip-remainder-batch the last
    batch of an epoch is left out, and then an update that is not complete.
    """
    folders = len(utils.split_paths(cfg.task.data))
    batches = [_batches_in(cfg, epoch) for epoch in range(1, folders + 1)]
    frequencies = cfg.optimization.update_freq  # the last one holds for all later epochs
    updates = 0
    for epoch in range(cfg.optimization.max_epoch):
        own = math.ceil(batches[epoch % folders] / processes)
        frequency = frequencies[min(epoch, len(frequencies) - 1)]
        skips = cfg.optimization.skip_remainder_batch
        updates += (own - 1) // frequency if skips else math.ceil(own / frequency)
    limit: int = cfg.optimization.max_update
    return min(updates, limit or updates) if cfg.optimization.max_epoch else limit


def _batches_in(cfg: DictConfig, epoch: int) -> int:
    """The number of batches of an epoch, made as fairseq's trainer makes them."""
    task = tasks.setup_task(cfg.task)
    task.load_dataset(cfg.dataset.train_subset, epoch=epoch)
    iterator = task.get_batch_iterator(
        dataset=task.dataset(cfg.dataset.train_subset),
        max_tokens=cfg.dataset.max_tokens,
        max_sentences=cfg.dataset.batch_size,
        max_positions=utils.resolve_max_positions(task.max_positions(), cfg.dataset.max_tokens),
        ignore_invalid_inputs=True,
        required_batch_size_multiple=cfg.dataset.required_batch_size_multiple,
        seed=cfg.common.seed + epoch * cfg.dataset.update_ordered_indices_seed,
        epoch=epoch,
        disable_iterator_cache=True,
        update_epoch_batch_itr=cfg.dataset.update_epoch_batch_itr,
    )
    return len(iterator.frozen_batches)
