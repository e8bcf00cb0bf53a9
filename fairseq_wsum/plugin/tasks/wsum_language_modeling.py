"""`--task wsum_language_modeling`: language models that carry their state through the corpus."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq.data import data_utils, iterators
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.models import ARCH_MODEL_REGISTRY, FairseqLanguageModel
from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask
from fairseq.utils import get_perplexity, split_paths
from omegaconf import II

from ..data.stream_iterator import StreamIterator
from ..data.stream_states import StreamStates
from ..data.token_stream import (
    Sample,
    StreamBatches,
    TokenStream,
    scoring_batches,
    training_batches,
)
from ..models.fields import check_limits, flag, option
from ..modules import CarriedState

# fairseq's dataclass machinery needs annotations that are types and supports `Optional` only, so
# this file uses neither `int | None` nor `from __future__ import annotations`.
# ruff: noqa: UP045

NO_TOKENS = "has no tokens: prepare the data again from a text that is not empty"

# options of language_modeling that have no meaning for a single stream, and their defaults
_FOR_SENTENCES = {
    "self_target": False,
    "past_target": False,
    "add_bos_token": False,
    "pad_to_fixed_length": False,
    "pad_to_fixed_bsz": False,
    "shorten_method": "none",
    "max_target_positions": None,
    "output_dictionary_size": -1,
}


@dataclass
class WsumLanguageModelingConfig(LanguageModelingConfig):
    """The options of fairseq's `language_modeling`, and those of the stream."""

    tokens_per_sample: int = option(
        35,
        "number of time steps of truncated backpropagation: tokens of each stream in a batch",
        at_least=1,
    )
    tokens_per_sample_valid: int = option(
        1000,
        "number of tokens scored at a time in validation and evaluation, which read a single "
        "stream and ignore --batch-size-valid; affects speed and host memory, not the perplexity "
        "per token",
        at_least=1,
    )
    # not an option, because it has no help text: the value is that of fairseq's --update-freq
    update_freq: list[int] = II("optimization.update_freq")  # noqa: RUF009


@register_task("wsum_language_modeling", dataclass=WsumLanguageModelingConfig)
class WsumLanguageModelingTask(LanguageModelingTask):
    """Language modelling over one stream of text, as in Zaremba et al. (2014).

    The corpus is one stream with its sentences in order. Training reads --batch-size parallel parts
    of it, with --tokens-per-sample tokens of each at a time. The state is carried from batch to
    batch, detached, and is zero at the start of an epoch. Validation and evaluation read a split as
    a single stream: every token is scored once, with its whole past in the state. Checkpoints
    written within an epoch contain the states.

    This is `--sample-break-mode none`, the default. With other break modes (such as `eos`, one
    sentence per sample) samples are independent, and the task equals fairseq's `language_modeling`,
    but for the default of `--tokens-per-sample`.
    """

    def __init__(self, args: Any, *others: Any, **named: Any) -> None:
        super().__init__(args, *others, **named)
        self.states = StreamStates()
        self.valid_states = StreamStates()
        self._stateless_model: str | None = None  # the class of a model without `carries_state`

    @classmethod
    def setup_task(cls, args: Any, **kwargs: Any) -> "WsumLanguageModelingTask":
        """Load the dictionary.

        Raises:
            ValueError: an option is invalid, or options are incompatible; the message names them.
        """
        check_limits(WsumLanguageModelingConfig, args)
        if _is_stream(args):
            for name, default in _FOR_SENTENCES.items():
                if str(getattr(args, name, default)) not in (str(default), "None"):
                    raise ValueError(
                        f"{flag(name)} has no meaning where the corpus is one stream: omit this "
                        "option, or give --sample-break-mode eos"
                    )
        return super().setup_task(args, **kwargs)

    @property
    def carries_state(self) -> bool:
        """Whether the state of a batch is the initial state of the next one."""
        return _is_stream(self.args)

    def build_model(self, args: Any, from_checkpoint: bool = False) -> Any:
        name = getattr(args, "_name", None)
        if not issubclass(
            ARCH_MODEL_REGISTRY.get(name, FairseqLanguageModel), FairseqLanguageModel
        ):
            cure = "give --arch wsum_lstm_lm or wsum_transformer_lm"
            if from_checkpoint:
                cure = "score translation models with scripts/score.sh or fairseq-generate"
            raise ValueError(
                f"--task wsum_language_modeling needs a language model, and {name} is not one: "
                + cure
            )
        model = super().build_model(args, from_checkpoint)
        if _is_stream(self.args) and not getattr(model, "carries_state", False):
            self._stateless_model = type(model).__name__
            if not from_checkpoint:
                self._check_state()
        return model

    def _check_state(self) -> None:
        """Check that the model can carry a state, before it reads the corpus as one stream."""
        if self._stateless_model is not None:
            raise ValueError(
                f"--task wsum_language_modeling carries the state through the corpus, which "
                f"{self._stateless_model} cannot: use --arch wsum_lstm_lm, or wsum_transformer_lm "
                "without --decoder-attention-layers and --token-positional-embeddings; or "
                "--task language_modeling, or --sample-break-mode eos"
            )

    # Data

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> Any:
        """Load a split; with several data folders, from the folder of this epoch.

        Raises:
            FileNotFoundError: the split does not exist.
            ValueError: the split is empty.
        """
        if not _is_stream(self.args):
            return super().load_dataset(split, epoch=epoch, combine=combine, **kwargs)
        paths = split_paths(self.args.data)
        path = f"{paths[(epoch - 1) % len(paths)]}/{split}"
        binary = Path(f"{path}.bin")
        if binary.is_file() and binary.stat().st_size == 0:  # fairseq cannot open an empty file
            raise ValueError(f"{path} {NO_TOKENS}")
        sentences = data_utils.load_indexed_dataset(
            path, self.dictionary, self.args.dataset_impl, combine=combine
        )
        if sentences is None:
            raise FileNotFoundError(f"Dataset not found: {split} ({path})")
        words = self.dictionary
        stream = TokenStream(sentences, eos=words.eos(), pad=words.pad(), unk=words.unk())
        if len(stream) == 0:
            raise ValueError(f"{path} {NO_TOKENS}")
        self.datasets[split] = stream
        return stream

    def get_batch_iterator(
        self,
        dataset: Any,
        max_tokens: Optional[int] = None,
        max_sentences: Optional[int] = None,
        num_shards: int = 1,
        shard_id: int = 0,
        num_workers: int = 0,
        epoch: int = 1,
        data_buffer_size: int = 0,
        skip_remainder_batch: bool = False,
        **others: Any,
    ) -> iterators.EpochBatchIterator:
        """Batches of a split, for training or for scoring.

        Raises:
            ValueError: --batch-size or --max-tokens is invalid, or the split has too few tokens for
                the streams; the message names the options.
        """
        if not isinstance(dataset, TokenStream):
            return super().get_batch_iterator(
                dataset,
                max_tokens=max_tokens,
                max_sentences=max_sentences,
                num_shards=num_shards,
                shard_id=shard_id,
                num_workers=num_workers,
                epoch=epoch,
                data_buffer_size=data_buffer_size,
                skip_remainder_batch=skip_remainder_batch,
                **others,
            )
        is_training = "update_epoch_batch_itr" in others  # fairseq passes it for training only
        if not is_training:
            batches = self._scoring_batches(dataset, shard_id)
            return StreamIterator(batches, self.valid_states, num_workers=num_workers)
        if max_sentences is None:
            raise ValueError(
                "--task wsum_language_modeling needs --batch-size: the number of parallel streams"
            )
        groups = self._batches_of_an_update(epoch)
        self._check_streams(dataset, max_tokens, max_sentences, groups * num_shards)
        steps = self.args.tokens_per_sample
        batches = training_batches(
            dataset,
            streams=max_sentences,
            steps=steps,
            groups=groups,
            process=shard_id,
            processes=num_shards,
            pad=self.dictionary.pad(),
        )
        self.states = StreamStates()  # new in each epoch, because the groups may change
        layout = {
            "--batch-size": max_sentences,
            "the number of batches in an update": groups * num_shards,
            "--tokens-per-sample": steps,
            "the number of training tokens": len(dataset),
        }
        return StreamIterator(
            batches,
            self.states,
            layout,
            num_workers=num_workers,
            epoch=epoch,
            buffer_size=data_buffer_size,
            skip_remainder_batch=skip_remainder_batch,
        )

    def _scoring_batches(self, stream: TokenStream, process: int) -> StreamBatches:
        self._check_state()
        tokens = self.args.tokens_per_sample_valid
        return scoring_batches(stream, tokens=tokens, process=process, pad=self.dictionary.pad())

    def _batches_of_an_update(self, epoch: int) -> int:
        """The value of --update-freq for this epoch; the option can be a list, one per epoch."""
        numbers = list(self.args.update_freq)
        return int(numbers[min(epoch, len(numbers)) - 1])

    def _check_streams(
        self, stream: TokenStream, max_tokens: Optional[int], streams: int, batches: int
    ) -> None:
        """Check the number of streams, --batch-size, against the other options and the data."""
        steps = self.args.tokens_per_sample
        if max_tokens is not None and max_tokens < streams * steps:
            raise ValueError(
                f"--max-tokens {max_tokens} is less than a batch of --batch-size {streams} streams "
                f"with --tokens-per-sample {steps}: set it to {streams * steps}, or omit it"
            )
        needed = streams * batches * steps
        if len(stream) < needed:
            raise ValueError(
                f"the training split has {len(stream):,} tokens, which are too few for "
                f"{streams * batches:,} streams (--batch-size {streams}"
                + (f", {batches} batches per update" if batches > 1 else "")
                + f") with --tokens-per-sample {steps}: {needed:,} are needed; lower one of them"
            )

    # Training and validation

    def train_step(self, sample: Sample, *args: Any, **kwargs: Any) -> Any:
        """Run fairseq's step, starting from the state after the previous step of the streams."""
        with self.states.carried(sample) as sample:
            return super().train_step(sample, *args, **kwargs)

    def valid_step(self, sample: Sample, *args: Any, **kwargs: Any) -> Any:
        """Run fairseq's step with states that are separate from those of training."""
        with self.valid_states.carried(sample) as sample:
            loss, size, log = super().valid_step(sample, *args, **kwargs)
        if sample["ntokens"] == 0:  # this process has nothing to score
            return loss * 0, 0, {name: value * 0 for name, value in log.items()}
        return loss, size, log

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Extend fairseq's method to always report the perplexity per token.

        fairseq derives the perplexity from the loss only if the sample size is the number of
        tokens. With --sentence-avg this holds only for batches with one token.
        """
        if _is_stream(self.args) and not any("nll_loss" in log for log in logging_outputs):
            # use floats, because 16-bit tensors would be summed in 16 bits
            total, tokens, size = (
                sum(float(log.get(name, 0)) for log in logging_outputs)
                for name in ("loss", "ntokens", "sample_size")
            )
            if size == tokens > 0:
                metrics.log_scalar("nll_loss", total / tokens / math.log(2), tokens, round=3)
            metrics.log_derived("ppl", lambda meters: get_perplexity(meters["nll_loss"].avg))
        super().reduce_metrics(logging_outputs, criterion)

    def begin_valid_epoch(self, epoch: int, model: Any) -> None:
        """Gather the states of all processes, because the first process writes the checkpoint."""
        super().begin_valid_epoch(epoch, model)
        if distributed_utils.get_data_parallel_world_size() > 1:
            self.states.gather(distributed_utils.get_data_parallel_group())

    # Evaluation

    def eval_lm_dataloader(
        self, dataset: Any, context_window: int = 0, num_shards: int = 1, **others: Any
    ) -> Any:
        """Batches for fairseq-eval-lm.

        Raises:
            ValueError: an option does not apply to a single stream; the message names it.
        """
        if not isinstance(dataset, TokenStream):
            return super().eval_lm_dataloader(
                dataset, context_window=context_window, num_shards=num_shards, **others
            )
        if context_window > 0:
            raise ValueError(
                f"--context-window {context_window}: the state holds all of the past; omit it"
            )
        if num_shards > 1:
            raise ValueError(
                f"one process must read the whole stream, not {num_shards} (--num-shards, or one "
                "for each GPU): give --num-shards 1 --distributed-world-size 1"
            )
        batches = self._scoring_batches(dataset, process=0)
        workers = others.get("num_workers", 0)
        itr = StreamIterator(batches, StreamStates(), num_workers=workers).next_epoch_itr()
        return iterators.CountingIterator(_with_state(itr), start=0, total=len(itr))

    def inference_step(
        self, generator: Any, models: Any, sample: Sample, *args: Any, **kwargs: Any
    ) -> Any:
        """Continue sentences.

        Raises:
            ValueError: the data are a single stream.
        """
        if "step" in sample:
            raise ValueError(
                "fairseq-generate continues sentences: give --sample-break-mode eos (and "
                "--prefix-size for the number of words in the prefix)"
            )
        return super().inference_step(generator, models, sample, *args, **kwargs)


def _is_stream(args: Any) -> bool:
    return str(getattr(args, "sample_break_mode", None) or "none") == "none"


def _with_state(samples: Any) -> Iterator[Sample]:
    """Add one `CarriedState`, shared by all samples, which stores the states of the models."""
    carried_state = CarriedState()
    for sample in samples:
        yield {**sample, "net_input": {**sample["net_input"], "carried_state": carried_state}}
