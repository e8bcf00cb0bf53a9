"""Count the updates of a training without running it.

A learning rate that falls to zero at the end of a training needs their number, which fairseq takes
from --total-num-update.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from pathlib import Path

from fairseq import options, tasks, utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import DictConfig

sys.path.append(str(Path(__file__).parents[1]))  # the package may not be installed
from fairseq_wsum.experiments.files import UserError, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("command", nargs="+", help="a command line of fairseq-train with --max-epoch, after --")
    add("--processes", type=int, metavar="N", help="the number of processes (default: as in it)")
    args = parser.parse_args()
    logging.disable(logging.INFO)  # fairseq's, of the data
    # within a job of Slurm, after `env -u ...`
    given = args.command[args.command.index("fairseq-train") + 1 :]
    namespace = options.parse_args_and_arch(options.get_training_parser(), input_args=given)
    cfg = convert_namespace_to_omegaconf(namespace)
    try:
        print(count(cfg, args.processes or cfg.distributed_training.distributed_world_size))
    except ValueError as error:  # the training would end with it, too
        raise UserError(f"the updates cannot be counted: {error}") from error


def count(cfg: DictConfig, processes: int) -> int:
    """The number of updates in all epochs.

    fairseq reads several data folders in turn, one in each epoch. In each update, each process has
    --update-freq batches.
    """
    folders = len(utils.split_paths(cfg.task.data))
    batches = [batches_in(cfg, epoch) for epoch in range(1, folders + 1)]
    frequencies = cfg.optimization.update_freq  # the last one holds for all later epochs
    updates = sum(
        math.ceil(
            math.ceil(batches[epoch % folders] / processes)
            / frequencies[min(epoch, len(frequencies) - 1)]
        )
        for epoch in range(cfg.optimization.max_epoch)
    )
    return min(updates, cfg.optimization.max_update or updates)


def batches_in(cfg: DictConfig, epoch: int) -> int:
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
        seed=cfg.common.seed + epoch,
        epoch=epoch,
        disable_iterator_cache=True,
    )
    return len(iterator.frozen_batches)


if __name__ == "__main__":
    run(main)
