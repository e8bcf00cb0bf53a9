"""Words per second of the parser, BiDAF or the classifier with each cell.

Any further options are passed to the recipe, whose model reads batches of its validation set:
`train` is a forward and a backward pass without the optimiser, and `predict` finds the trees, the
answers or the classes. All systems take turns in one process, so that --supar, the parser of supar
with the same sizes, needs supar 1.1.4 beside this package.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fairseq import options, tasks
from fairseq.data.data_utils import batch_by_size
from measure import median_times
from torch import Tensor, nn

from fairseq_wsum import CELLS
from fairseq_wsum.argument_types import positive
from fairseq_wsum.cli import table
from fairseq_wsum.experiments.program import command_line
from fairseq_wsum.experiments.recipes import RECIPES
from fairseq_wsum.machine import machine
from fairseq_wsum.plugin.modules.attention_flow import best_spans

Batch = dict[str, Any]
Steps = dict[str, Callable[[Batch], object]]  # `train` and `predict`


HEAD = "sentence_classification_head"  # fairseq's default name
PREDICT: dict[str, Callable[..., object]] = {  # from a model and its inputs
    "parser": lambda model, inputs: model.parse(model(**inputs)),
    "squad": lambda model, inputs: best_spans(*model(**inputs)),
    "sst": lambda model, inputs: model(**inputs, classification_head_name=HEAD)[0].argmax(-1),
}


def read_options(recipe: str, data: Path, cell: str, given: Sequence[str]) -> argparse.Namespace:
    """The options of fairseq-train that a recipe gives."""
    read = RECIPES[recipe](recipe, ["--cell", cell, *given])
    settings = {**read.model, **read.training, "total-num-update": 1}
    words = [str(data), "--cpu", *command_line(settings), *read.options]
    return options.parse_args_and_arch(options.get_training_parser(), words)


def steps_of(
    model: nn.Module, loss: Callable[[Batch], Tensor], find: Callable[[Batch], object]
) -> Steps:
    """The steps of a model, from its loss of a batch and what it finds for a batch."""

    def train(batch: Batch) -> None:
        model.train()
        loss(batch).backward()
        model.zero_grad()

    @torch.no_grad()
    def predict(batch: Batch) -> None:
        model.eval()
        find(batch)

    return {"train": train, "predict": predict}


def ours(recipe: str, task: Any, chosen: argparse.Namespace, dtype: torch.dtype) -> Steps:
    """The steps of our model."""
    model, criterion = task.build_model(chosen).to(dtype), task.build_criterion(chosen)
    find = partial(PREDICT[recipe], model)
    return steps_of(model, lambda one: criterion(model, one)[0], lambda one: find(one["net_input"]))


def supars(task: Any) -> Steps:
    """The steps of supar's BiLSTM parser with an LSTM over characters."""
    from supar.models.dep import BiaffineDependencyModel

    pad = task.source_dictionary.pad()
    model = BiaffineDependencyModel(
        n_words=len(task.source_dictionary),
        n_rels=len(task.relation_dictionary),
        n_chars=257,
        pad_index=pad,
        unk_index=task.source_dictionary.unk(),
    )

    def scores(batch: Batch) -> tuple[Any, ...]:
        inputs = batch["net_input"]
        words, bytes = inputs["src_tokens"], inputs["src_bytes"][..., :20].clone()  # its fix_len
        bytes[:, 0, 0] = 1  # its LSTM over characters cannot read a word without any
        order = words.ne(pad).sum(1).argsort(descending=True)  # longest first, as it needs them
        mask = words[order].ne(pad)
        mask[:, 0] = False
        return *model(words[order], [bytes[order]]), mask, order

    def loss(batch: Batch) -> Any:
        arcs, relations, mask, order = scores(batch)
        return model.loss(arcs, relations, batch["heads"][order], batch["relations"][order], mask)

    def find(batch: Batch) -> object:
        return model.decode(*scores(batch)[:3])  # greedy: its trees need more packages

    return steps_of(model, loss, find)


def batches_of(task: Any, chosen: argparse.Namespace, number: int) -> list[Batch]:
    """About `number` batches of the validation set, of the middle half of its lengths."""
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    found = batch_by_size(
        dataset.ordered_indices(),
        dataset.num_tokens,
        max_tokens=chosen.max_tokens,
        max_sentences=chosen.batch_size,
    )
    middle = found[len(found) // 4 :: max(1, len(found) // 2 // number)][:number]
    return [dataset.collater([dataset[k] for k in indices]) for indices in middle]


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("recipe", choices=PREDICT, help="the recipe whose model is measured")
    add("data", type=Path, help="the folder that the recipe or fairseq-wsum prepare made")
    usual = ["lstm", "no-srnn", "no-srnn-out", "no-srnn-hidden", "no-gates"]
    help = "cells to measure (default: the paper's)"
    add("--cells", nargs="+", choices=CELLS, default=usual, metavar="NAME", help=help)
    add("--bf16", action="store_true", help="our models in bf16, too")
    add("--supar", action="store_true", help="supar's parser, too")
    add("--batches", type=positive, default=4, help="batches (default 4)")
    add("--rounds", type=positive, default=3, help="timings of each (default 3)")
    args, rest = parser.parse_known_args(given)
    chosen = {cell: read_options(args.recipe, args.data, cell, rest) for cell in args.cells}
    first = chosen[args.cells[0]]
    task = tasks.setup_task(first)
    batches = batches_of(task, first, args.batches)
    words = sum(batch["ntokens"] for batch in batches)
    dtypes = {"": torch.float32} | ({", bf16": torch.bfloat16} if args.bf16 else {})
    systems = {
        f"{cell}{name}": ours(args.recipe, task, chosen[cell], dtype)
        for name, dtype in dtypes.items()
        for cell in args.cells
    }
    if args.supar:
        systems["supar"] = supars(task)
    base = "supar" if args.supar else args.cells[0]
    rows = {name: {"model": name} for name in systems}
    for what in ("train", "predict"):
        runs = {
            name: lambda step=steps[what]: [step(batch) for batch in batches]
            for name, steps in systems.items()
        }
        seconds = median_times(runs, args.rounds, "cpu")
        for name, row in rows.items():
            row[f"{what}, words/s"] = f"{words / seconds[name]:,.0f}"
            row[f"{what}, times {base}"] = f"{seconds[base] / seconds[name]:.2f}"
    print(f"{machine()}, {words:,} words\n")
    print(table(list(rows.values())))


if __name__ == "__main__":
    main()
