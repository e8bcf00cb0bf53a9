"""What an optimisation of this package gains: a trained model with and without it, in turn.

`dropout`: forward and backward passes of training, with this package's dropout or PyTorch's.
`joint-gradients`: the same for LSTMs with input feeding, whose decoder is a loop.
The others: translation of the test set. All of them need a translation model of this package.
"""

from __future__ import annotations

import argparse
import logging
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any
from unittest.mock import patch

from fairseq.sequence_generator import EnsembleModel
from fairseq.tasks import FairseqTask
from measure import time_of
from torch.nn.functional import dropout

from fairseq_wsum.argument_types import positive
from fairseq_wsum.cli import DTYPES
from fairseq_wsum.layer import single_step
from fairseq_wsum.machine import machine
from fairseq_wsum.plugin.decoding.beam_search import CandidateEnsemble
from fairseq_wsum.plugin.loading import load_model
from fairseq_wsum.plugin.models import wsum_lstm_decoder
from fairseq_wsum.plugin.modules import dropout as dropout_modules
from fairseq_wsum.plugin.modules.source_attention import SourceAttention
from fairseq_wsum.products import ForFewRows

Change = Callable[[], AbstractContextManager[object]]  # a context without the optimisation
CHANGES: dict[str, Change] = {
    # PyTorch computes the dropout of single elements
    "dropout": lambda: patch.object(dropout_modules, "dropout", dropout),
    # each step of the decoder's loop has its own gradients
    "joint-gradients": lambda: patch.object(wsum_lstm_decoder, "joint_gradients", nullcontext),
}
IN_DECODING: dict[str, Change] = {
    # a single step goes through the whole layer
    "single-step": lambda: patch.multiple(single_step, LIMIT=0, LIMIT_WITH_MATRIX=0),
    # fairseq computes a Transformer's attention to the source
    "source-attention": lambda: patch.object(SourceAttention, "_has_kernel", lambda *_: False),
    # each hypothesis has its own keys and values
    "shared-sources": lambda: patch.object(CandidateEnsemble, "share_sources", lambda *_: None),
    # fairseq searches the decoder for its modules with a state in each step
    "state-modules": lambda: patch.object(
        CandidateEnsemble, "reorder_incremental_state", EnsembleModel.reorder_incremental_state
    ),
    # the output matrix is not transposed
    "output-copy": lambda: patch.object(ForFewRows, "ROWS", range(0)),
}


def read_batches(task: FairseqTask, split: str, size: int, number: int) -> list[dict[str, Any]]:
    """Batches of a split, in a random order, as they are sorted by length."""
    task.load_dataset(split)
    batches = task.get_batch_iterator(task.dataset(split), max_sentences=size, seed=1)
    return list(islice(batches.next_epoch_itr(shuffle=True), number))


def ratio(work: Callable[[], object], without: Change, rounds: int) -> float:
    """The time of `work` without the optimisation, divided by that with it.

    It is the median over `rounds`, in each of which both take their turn.
    """
    work()  # fills the caches
    ratios = []
    for number in range(rounds):
        seconds = {}
        for change in (nullcontext, without) if number % 2 else (without, nullcontext):
            with change():
                seconds[change] = time_of(work)
        ratios.append(seconds[without] / seconds[nullcontext])
    return statistics.median(ratios)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, with `arguments` or those of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("data", help="a folder of fairseq-preprocess")
    add("--checkpoint", required=True, help="a translation model of this package")
    add("--what", required=True, choices=[*CHANGES, *IN_DECODING])
    add("--batch-size", type=positive, default=1, help="sentences in a batch (default 1)")
    add("--batches", type=positive, default=40, help="batches in a round (default 40)")
    add("--rounds", type=positive, default=7, help="rounds (default 7)")
    add("--dtype", choices=DTYPES, default="fp32", help="floating-point type (default fp32)")
    args = parser.parse_args(arguments)
    logging.disable(logging.INFO)
    model, cfg, task = load_model(args.checkpoint, data=args.data)
    model.to(DTYPES[args.dtype])
    decodes = args.what in IN_DECODING
    batches = read_batches(task, "test" if decodes else "train", args.batch_size, args.batches)
    if decodes:
        model.prepare_for_inference_(cfg)
        generator = task.build_generator([model], cfg.generation)
    else:
        model.train()
        criterion = task.build_criterion(cfg.criterion)

    def work() -> None:
        for batch in batches:
            if decodes:
                task.inference_step(generator, [model], batch)
            else:
                criterion(model, batch)[0].backward()
                model.zero_grad()

    title = f"{args.checkpoint}, {args.dtype}, batches of {args.batch_size}, {machine()}"
    print(title, flush=True)
    without = {**CHANGES, **IN_DECODING}[args.what]
    print(f"with {args.what} {ratio(work, without, args.rounds):.2f} times as fast")


if __name__ == "__main__":
    main()
