"""What fairseq 0.12 needs to run on current torch. `apply` is called on import.

Each shim says what fails without it, and where in fairseq.
"""

from __future__ import annotations

import argparse
import functools
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy
import torch
from fairseq import options, utils
from fairseq.data import data_utils, language_pair_dataset, token_block_dataset
from fairseq.distributed import utils as distributed_utils
from fairseq.optim import AMPOptimizer
from fairseq.search import DiverseBeamSearch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor
from torch.torch_version import TorchVersion


@functools.cache  # once
def apply() -> None:
    """Apply all shims."""
    _allow_in_checkpoints()
    _restore_unknown_word_replacement()
    _count_overlaps_within_a_batch()
    _allow_bf16_without_tpu()
    _divide_by_the_loss_scale_once()
    _send_checkpoints_between_processes()
    _restore_old_names_of_numpy()


def _allow_in_checkpoints() -> None:
    """torch.load reads tensors and plain types only, unless told otherwise.

    fairseq's checkpoints hold two things more: for models without a dataclass, such as its own
    `lstm`, an `argparse.Namespace`, a bag of plain values; after a validation with `--eval-bleu`
    arrays of numpy, the counts of n-grams. Allowing these keeps loading safe.
    """
    reconstruct = numpy.empty(0).__reduce__()[0]
    numbers = [type(numpy.dtype(kind)) for kind in (numpy.int64, numpy.float64)]
    allowed: list[Any] = [argparse.Namespace, numpy.ndarray, numpy.dtype, *numbers, reconstruct]
    if TorchVersion(torch.__version__) >= "2.6":  # by the names that numpy 1 and 2 have for it
        names = (f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core"))
        allowed += [(reconstruct, name) for name in names]
    torch.serialization.add_safe_globals(allowed)


def _restore_unknown_word_replacement() -> None:
    """--replace-unk wants the source position of every target token, and gets something else.

    fairseq's beam search leaves the alignment empty (an IndexError at the first unknown word);
    with --print-alignment it is a list of pairs or of probabilities (a TypeError). And without a
    dictionary its argument is "@@ ", which is then opened as a file (a FileNotFoundError).
    """
    generate = SequenceGenerator.generate
    replace_unk = utils.replace_unk
    load_align_dict = utils.load_align_dict
    wanted = False  # both programs load the dictionary before they translate

    @functools.wraps(generate)
    def generate_with_alignment(
        self: SequenceGenerator, models: Any, sample: dict[str, Any], **kwargs: Any
    ) -> list[list[dict[str, Tensor]]]:
        finalized = generate(self, models, sample, **kwargs)
        src_tokens = sample["net_input"].get("src_tokens")
        if wanted and src_tokens is not None:
            for tokens, hypotheses in zip(src_tokens, finalized, strict=True):
                real = (tokens != self.pad) & (tokens != self.eos)
                for hypothesis in hypotheses:
                    attention = hypothesis["attention"]  # source x target positions
                    if len(attention) == len(tokens) and real.any():
                        hypothesis["alignment"] = attention[real].argmax(0).cpu()
        return finalized

    @functools.wraps(replace_unk)
    def replace_unk_from_any(
        hypo_str: str, src_str: str, alignment: Any, align_dict: dict[str, str], unk: str
    ) -> str:
        if alignment is None or len(alignment) == 0:  # no attention, or nothing to attend to
            return hypo_str
        return replace_unk(hypo_str, src_str, _source_positions(alignment), align_dict, unk)

    @functools.wraps(load_align_dict)
    def load_align_dict_if_given(replace_unk: str | None) -> dict[str, str] | None:
        nonlocal wanted
        wanted = replace_unk is not None
        return load_align_dict("" if replace_unk == "@@ " else replace_unk)

    SequenceGenerator.generate = generate_with_alignment
    utils.replace_unk = replace_unk_from_any
    utils.load_align_dict = load_align_dict_if_given


def _count_overlaps_within_a_batch() -> None:
    """--diverse-beam-groups counts overlaps in a tensor with a row for each sentence of a batch.

    It takes the row by the sentence's number in the data (search.py), an IndexError where that is
    not below the size of the batch. Without the number fairseq takes the place in the batch.
    """
    generate = SequenceGenerator._generate

    @functools.wraps(generate)
    def generate_with_places(
        self: SequenceGenerator, sample: dict[str, Any], *args: Any, **kwargs: Any
    ) -> list[list[dict[str, Tensor]]]:
        if isinstance(self.search, DiverseBeamSearch):
            sample = {name: value for name, value in sample.items() if name != "id"}
        return generate(self, sample, *args, **kwargs)

    SequenceGenerator._generate = generate_with_places


def _allow_bf16_without_tpu() -> None:
    """fairseq takes --bf16 to mean --tpu too, and fails on a machine without one (options.py)."""
    parse = options.parse_args_and_arch

    @functools.wraps(parse)
    def parse_args_and_arch(*args: Any, **kwargs: Any) -> Any:
        parsed = parse(*args, **kwargs)
        namespace = parsed[0] if isinstance(parsed, tuple) else parsed
        asked = "--tpu" in (kwargs.get("input_args") or sys.argv)
        if getattr(namespace, "bf16", False) and not asked:
            namespace.tpu = False
        return parsed

    options.parse_args_and_arch = parse_args_and_arch


def _divide_by_the_loss_scale_once() -> None:
    """--amp divides gradients by the scale of the loss twice (optim/amp_optimizer.py).

    It has the scaler unscale torch's optimizer, to clip, and step fairseq's wrapper around it,
    which the scaler takes for another, and unscales too: SGD's steps are 128 times too short.
    """

    def step(self: AMPOptimizer) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()

    AMPOptimizer.step = step


def _send_checkpoints_between_processes() -> None:
    """Where several processes resume, the first reads the checkpoint and sends it to the others.

    It does so with torch.save and torch.load (distributed/utils.py), and since torch 2.6 torch.load
    refuses the configuration in it. torch's own way to send an object has no such trouble.
    """

    def broadcast_object_slow(obj: Any, src_rank: int, group: Any, dist_device: Any) -> Any:
        objects = [obj]
        torch.distributed.broadcast_object_list(objects, src_rank, group, dist_device)
        return objects[0]

    distributed_utils._broadcast_object_slow = broadcast_object_slow


def _restore_old_names_of_numpy() -> None:
    """Three files of fairseq use `numpy.compat.long` and `numpy.int`, which are both Python's int.

    numpy 1.24 took the one away and numpy 2 the other: an AttributeError where a language model
    reads sentences, or continues them. And what `numpy.percentile` called `interpolation` until
    numpy 2.4 is `method`: a TypeError with --num-batch-buckets. The names are put back for these
    three files alone.
    """
    if hasattr(numpy, "compat") and hasattr(numpy, "int"):
        return

    class NumpyWithOldNames(ModuleType):
        int = int
        compat = SimpleNamespace(long=int)

        def percentile(self, a: Any, q: Any, interpolation: Any = "linear") -> Any:
            return numpy.percentile(a, q, method=interpolation)

        def __getattr__(self, name: str) -> Any:
            return getattr(numpy, name)

    for module in (data_utils, language_pair_dataset, token_block_dataset):
        module.np = NumpyWithOldNames("numpy")


def _source_positions(alignment: Any) -> Any:
    """Target position -> source position, from any of the three forms of an alignment."""
    if isinstance(alignment, Tensor):
        return alignment
    if isinstance(alignment[0], tuple):  # hard: (source, target) pairs
        return {target: source for source, target in alignment}
    # soft: probabilities of the source positions, the end of the sentence last
    return [max(range(len(row[:-1]) or 1), key=lambda s: float(row[s])) for row in alignment]
