"""Resumed trainings, compared with an uninterrupted one."""

import copy
import logging
import multiprocessing
import time
from collections import Counter

import numpy as np
import pytest
import torch

pytest.importorskip("fairseq")
from commands import assert_same_weights, run, train
from fairseq.data.iterators import EpochBatchIterator, GroupedEpochBatchIterator
from fairseq.optim.fp16_optimizer import FP16Optimizer
from omegaconf import OmegaConf
from shell import SCRIPTS
from torch.utils.data import Subset
from translation_corpus import TINY

import fairseq_wsum.plugin  # noqa: F401  # applies the shims
from fairseq_wsum.checkpoint_files import read

# 9 updates per epoch, and dropout, whose random numbers differ if training continues elsewhere
TRAINING = [*TINY.replace("--batch-size 30", "--batch-size 7").split(), "--dropout", "0.4"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_resumed_in_its_second_epoch_equals_an_uninterrupted_one(
    precision, prepared, tmp_path
) -> None:
    options = ["--precision", precision, "--no-epoch-checkpoints", "--update-freq", 2]
    train(prepared, tmp_path / "whole", *TRAINING, *options, "--max-epoch", 3)
    train(prepared, tmp_path / "parts", *TRAINING, *options, "--max-update", 7)  # of 5 an epoch
    log = train(prepared, tmp_path / "parts", *TRAINING, *options, "--max-epoch", 3)
    assert "Loaded checkpoint" in log and "begins again" not in log
    assert_same_weights(tmp_path / "parts", tmp_path / "whole")


def test_another_number_of_processes_continues_at_the_same_batch(prepared, tmp_path) -> None:
    for _ in range(2):
        log = train(prepared, tmp_path, *TRAINING, "--max-update", 5)
    assert "the training has had its 5 updates" in log
    script = ["bash", SCRIPTS / "train.sh", prepared, "--save-dir", tmp_path, *TRAINING]
    output = run(*script, "--cpu-processes", 2, "--max-epoch", 1)
    assert "after 5 of 9 batches of epoch 1 in 1 processes. Training resumes there in 2" in output
    assert "the last 1 of these batches are trained a second time" in output
    position = read(tmp_path / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]
    assert position == 5 + 3  # updates 3, 4 and 5 of two processes


def test_a_resumed_training_goes_on_counting_towards_patience(prepared, tmp_path) -> None:
    options = [*TRAINING, "--patience", 2, "--lr", 0]  # every validation has the same loss
    train(prepared, tmp_path, *options, "--max-epoch", 2)
    log = train(prepared, tmp_path, *options, "--max-epoch", 9)
    assert "end of epoch 3 " in log and "early stop" in log
    log = train(prepared, tmp_path, *options, "--max-epoch", 9)
    assert "the training has ended by --patience 2" in log and "end of epoch" not in log
    log = train(prepared, tmp_path, *options, "--max-epoch", 9, "--patience", 3)
    assert "end of epoch 4 " in log and "early stop" in log


def test_a_training_that_validates_with_bleu_resumes(prepared, tmp_path) -> None:
    score = ["--eval-bleu", "--eval-bleu-args", '{"max_len_b": 9}']
    score += ["--eval-bleu-remove-bpe", "sentencepiece"]
    score += ["--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric"]
    for epochs in (1, 2):
        log = train(prepared, tmp_path, *TRAINING, *score, "--max-epoch", epochs)
    assert "| bleu " in log
    assert "Loaded checkpoint" in log  # fairseq saves the BLEU as a numpy scalar


def test_an_average_begins_with_the_weights_of_a_checkpoint_without_one(prepared, tmp_path) -> None:
    train(prepared, tmp_path, *TRAINING, "--max-update", 2)
    before = read(tmp_path / "checkpoint_last.pt")["model"]
    train(prepared, tmp_path, *TRAINING, "--max-update", 3, "--store-ema", "--ema-decay", 1)
    after = read(tmp_path / "checkpoint_last.pt")
    average = after["extra_state"]["ema"]
    assert all(torch.equal(average[name], weight) for name, weight in before.items())
    assert not all(torch.equal(after["model"][name], weight) for name, weight in before.items())


# The iterator itself


def batches_of(size: int) -> list[list[int]]:
    return [list(part) for part in np.array_split(np.arange(size), size // 3)]


def iterators(
    processes: int, size: int = 47, epoch: int = 2, seed: int = 1, grouped: bool = False
) -> list[EpochBatchIterator]:
    return [
        EpochBatchIterator(
            Subset(range(size), range(size)),
            collate_fn=list,
            batch_sampler=batches_of(size),
            seed=seed,
            num_shards=processes,
            shard_id=process,
            epoch=epoch,
            grouped_shuffling=grouped,
        )
        for process in range(processes)
    ]


def read_some(iterator: EpochBatchIterator, number: int | None = None) -> list[int]:
    epoch = iterator.next_epoch_itr(shuffle=True)
    found: list[int] = []
    for k, batch in enumerate(epoch):
        found += batch
        if k + 1 == number:
            break
    return found


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 2), (2, 1), (2, 3), (3, 2), (4, 4)])
def test_another_number_of_processes_skips_no_batch(before, after, caplog) -> None:
    first = iterators(before)
    trained = Counter(number for it in first for number in read_some(it, 2))
    with caplog.at_level(logging.WARNING):
        for it in iterators(after):
            it.load_state_dict(first[0].state_dict())
            trained.update(read_some(it))
    assert set(trained) == set(range(47))
    again = sum(count - 1 for count in trained.values())
    batches = 2 * before % after
    assert again <= 4 * batches and bool(again) == bool(batches)
    assert bool(caplog.records) == (before != after)
    assert ("a second time" in caplog.text) == bool(batches)


@pytest.mark.parametrize("change", [{"size": 50}, {"seed": 2}], ids=["data", "seed"])
def test_other_data_or_another_seed_leave_nothing_out(change, caplog) -> None:
    (first,) = iterators(1)
    read_some(first, 3)
    (other,) = iterators(1, **change)
    other.load_state_dict(first.state_dict())
    assert sorted(read_some(other)) == list(range(change.get("size", 47)))
    assert "The epoch begins again" in caplog.text


def test_batches_in_groups_of_other_processes_begin_again(caplog) -> None:
    first, (second,) = iterators(2, grouped=True), iterators(1, grouped=True)
    read_some(first[0], 3)
    second.load_state_dict(first[0].state_dict())
    assert sorted(read_some(second)) == list(range(47))
    assert "The epoch begins again" in caplog.text


def test_a_checkpoint_from_fairseq_alone_is_read_as_before() -> None:
    (first,), (second,) = iterators(1), iterators(1)
    done = read_some(first, 3)
    state = first.state_dict()
    del state["batches"]
    second.load_state_dict(state)
    rest = read_some(second)
    assert len(done) < 47 and sorted(done + rest) == list(range(47))


# Optimisers in 16 bits


SGD = {"_name": "sgd", "lr": [1e-3], "momentum": 0.0, "weight_decay": 0.0}
COMMON = {
    "fp16_no_flatten_grads": True,
    "fp16_init_scale": 4,
    "fp16_scale_window": 3,
    "fp16_scale_tolerance": 0.0,
    "threshold_loss_scale": None,
    "min_loss_scale": 1e-4,
}


def optimizer_of(values: torch.Tensor) -> tuple[torch.nn.Parameter, FP16Optimizer]:
    weight = torch.nn.Parameter(values)
    common = {**COMMON, "bf16": values.dtype == torch.bfloat16}
    config = OmegaConf.create({"optimizer": SGD, "common": common})
    return weight, FP16Optimizer.build_optimizer(config, [weight])


def update(weight: torch.nn.Parameter, optimizer: FP16Optimizer) -> None:
    optimizer.zero_grad()
    optimizer.backward((weight.float() * torch.arange(len(weight))).sum())
    optimizer.clip_grad_norm(0.0)
    optimizer.step()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_the_fp32_weights_and_the_loss_scale_are_restored(dtype) -> None:
    weight, optimizer = optimizer_of(torch.randn(50).to(dtype))
    for _ in range(4):
        update(weight, optimizer)
    state = copy.deepcopy(optimizer.state_dict())
    resumed_weight, resumed = optimizer_of(weight.detach().clone())
    assert not torch.equal(resumed.fp32_params[0], optimizer.fp32_params[0])
    resumed.load_state_dict(state)
    for _ in range(4):
        update(weight, optimizer)
        update(resumed_weight, resumed)
    assert torch.equal(resumed.fp32_params[0], optimizer.fp32_params[0])
    assert torch.equal(resumed_weight, weight)
    if dtype == torch.float16:
        assert vars(resumed.scaler) == vars(optimizer.scaler)


def test_weights_that_were_changed_in_the_checkpoint_stay() -> None:
    _, trained = optimizer_of(torch.randn(12).bfloat16())
    changed, resumed = optimizer_of(torch.full((12,), 2.0).bfloat16())
    resumed.load_state_dict(trained.state_dict())
    assert torch.equal(resumed.fp32_params[0], changed.detach().float())


def test_weights_of_another_form_leave_the_fp32_copies_unchanged() -> None:
    _, optimizer = optimizer_of(torch.randn(12).bfloat16())
    before = optimizer.fp32_params[0].clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "fp32_params": [torch.zeros(3, 4)]})
    assert torch.equal(optimizer.fp32_params[0], before)


def test_an_iterator_of_several_data_sets_is_left_to_fairseq() -> None:
    batches = [batches_of(9), batches_of(6)]  # of two data sets
    grouped = GroupedEpochBatchIterator(Subset(range(9), range(9)), list, batches)
    next(grouped.next_epoch_itr(shuffle=True))
    state = grouped.state_dict()
    assert state["iterations_in_epoch"] == 1 and "batches" not in state


# Workers


def test_data_workers_end_with_their_epoch_and_not_with_their_iterator(monkeypatch) -> None:
    # the seconds after which torch kills workers that do not end by themselves
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 600)
    options = dict(num_workers=1, buffer_size=2)
    iterator = EpochBatchIterator(Subset(range(9), range(9)), list, batches_of(9), **options)
    for _ in range(2):
        assert len([*iterator.next_epoch_itr()]) == len(batches_of(9))
        end = time.monotonic() + 60
        while (alive := multiprocessing.active_children()) and time.monotonic() < end:
            time.sleep(0.01)
        assert not alive
