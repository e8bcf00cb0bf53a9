"""Words per second of the parser with each cell, and of supar's parser if it is installed.

Both have the same sizes and read the same batches of a prepared treebank: `train` is a forward and
a backward pass without the optimiser, `parse` the scores and the trees. All systems take turns in
one process, so that --supar needs supar 1.1.4 beside this package.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fairseq  # noqa: F401  # before the plugin
import torch
from fairseq.data.data_utils import batch_by_size
from measure import median_times

from fairseq_wsum import CELLS
from fairseq_wsum.argument_types import positive
from fairseq_wsum.cli import table
from fairseq_wsum.machine import machine
from fairseq_wsum.plugin.criterions.wsum_parsing_loss import WsumParsingLoss
from fairseq_wsum.plugin.models.wsum_biaffine_parser import (
    WsumBiaffineParser,
    WsumBiaffineParserConfig,
)
from fairseq_wsum.plugin.tasks.wsum_dependency_parsing import (
    WsumDependencyParsingConfig,
    WsumDependencyParsingTask,
)

Batch = dict[str, Any]
Steps = dict[str, Callable[[Batch], object]]  # `train` and `parse`


def ours(task: WsumDependencyParsingTask, cell: str, dtype: torch.dtype) -> Steps:
    """The steps of our parser."""
    model = WsumBiaffineParser.build_model(WsumBiaffineParserConfig(cell=cell), task).to(dtype)
    criterion = WsumParsingLoss(task)

    def train(batch: Batch) -> None:
        model.train()
        criterion(model, batch)[0].backward()
        model.zero_grad()

    def parse(batch: Batch) -> None:
        model.eval()
        with torch.no_grad():
            model.parse(model(**batch["net_input"]))

    return {"train": train, "parse": parse}


def supars(task: WsumDependencyParsingTask) -> Steps:
    """The steps of supar's BiLSTM parser with an LSTM over characters."""
    from supar.models.dep import BiaffineDependencyModel

    pad = task.words.pad()
    model = BiaffineDependencyModel(
        n_words=len(task.words),
        n_rels=len(task.relation_dictionary),
        n_chars=257,
        pad_index=pad,
        unk_index=task.words.unk(),
    )

    def scores(batch: Batch) -> tuple[Any, ...]:
        inputs = batch["net_input"]
        words, bytes = inputs["src_tokens"], inputs["src_bytes"][..., :20].clone()  # its fix_len
        bytes[:, 0, 0] = 1  # its LSTM over characters cannot read a word without any
        order = words.ne(pad).sum(1).argsort(descending=True)  # longest first, as it needs them
        mask = words[order].ne(pad)
        mask[:, 0] = False
        return *model(words[order], [bytes[order]]), mask, order

    def train(batch: Batch) -> None:
        model.train()
        arcs, relations, mask, order = scores(batch)
        loss = model.loss(arcs, relations, batch["heads"][order], batch["relations"][order], mask)
        loss.backward()
        model.zero_grad()

    def parse(batch: Batch) -> None:
        model.eval()
        with torch.no_grad():
            arcs, relations, mask, _ = scores(batch)
            model.decode(arcs, relations, mask)  # greedy: its trees need more packages

    return {"train": train, "parse": parse}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("data", type=Path, help="a folder made by fairseq-wsum prepare ewt or treebank")
    usual = ["lstm", "no-srnn", "no-srnn-out", "no-srnn-hidden", "no-gates"]
    help = "cells to measure (default: the paper's)"
    add("--cells", nargs="+", choices=CELLS, default=usual, metavar="NAME", help=help)
    add("--bf16", action="store_true", help="our parsers in bf16, too")
    add("--supar", action="store_true", help="supar's parser, too")
    add("--batches", type=positive, default=4, help="batches of 2,000 words (default 4)")
    add("--rounds", type=positive, default=3, help="timings of each (default 3)")
    args = parser.parse_args()
    task = WsumDependencyParsingTask(WsumDependencyParsingConfig(data=str(args.data)))
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    found = batch_by_size(dataset.ordered_indices(), dataset.num_tokens, max_tokens=2000)
    chosen = found[len(found) // 4 :: max(1, len(found) // 2 // args.batches)][: args.batches]
    batches = [dataset.collater([dataset[k] for k in indices]) for indices in chosen]
    words = sum(batch["ntokens"] for batch in batches)
    systems = {cell: ours(task, cell, torch.float32) for cell in args.cells}
    if args.bf16:
        systems |= {f"{cell}, bf16": ours(task, cell, torch.bfloat16) for cell in args.cells}
    if args.supar:
        systems["supar"] = supars(task)
    first = "supar" if args.supar else args.cells[0]
    rows = {name: {"parser": name} for name in systems}
    for what in ("train", "parse"):
        runs = {
            name: lambda step=steps[what]: [step(batch) for batch in batches]
            for name, steps in systems.items()
        }
        seconds = median_times(runs, args.rounds, "cpu")
        for name, row in rows.items():
            row[f"{what}, words/s"] = f"{words / seconds[name]:,.0f}"
            row[f"{what}, times {first}"] = f"{seconds[first] / seconds[name]:.2f}"
    print(f"{machine()}, {words:,} words\n")
    print(table(list(rows.values())))


if __name__ == "__main__":
    main()
