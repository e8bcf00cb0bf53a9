"""`--task wsum_language_modeling`: language models that carry their state through the corpus."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from fairseq.data import data_utils, iterators
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask
from fairseq.utils import get_perplexity, split_paths
from omegaconf import II

from ..data.stream_iterator import StreamIterator
from ..data.stream_states import StreamStates
from ..data.token_stream import Sample, TokenStream, scoring_batches, training_batches
from ..models.fields import check_limits, flag, option
from ..modules.states import CarriedState

# fairseq's dataclass machinery needs annotations that are types and supports `Optional` only, so
# this file uses neither `int | None` nor `from __future__ import annotations`.
# ruff: noqa: UP045


# the options of fairseq's `language_modeling` that a stream cannot have, and their defaults
_OF_SENTENCES = {
    "add_bos_token": False,
    "output_dictionary_size": -1,
    "pad_to_fixed_bsz": False,
    "pad_to_fixed_length": False,
    "shorten_method": "none",
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

    @classmethod
    def setup_task(cls, args: Any, **kwargs: Any) -> "WsumLanguageModelingTask":
        """Load the dictionary.

        Raises:
            ValueError: an option is invalid; the message names it.
        """
        check_limits(WsumLanguageModelingConfig, args)
        if _is_stream(args):
            for name, default in _OF_SENTENCES.items():
                if str(getattr(args, name, default)) != str(default):
                    raise ValueError(
                        f"{flag(name)} does not go with a stream of tokens: leave it "
                        "out, or give --sample-break-mode eos"
                    )
        return super().setup_task(args, **kwargs)

    def build_model(self, args: Any, from_checkpoint: bool = False) -> Any:
        """Build a model.

        Raises:
            ValueError: the model cannot carry its state through the corpus.
        """
        model = super().build_model(args, from_checkpoint)
        if _is_stream(self.args) and not getattr(model, "carries_state", False):
            raise ValueError(
                f"--task wsum_language_modeling carries the state through the corpus, which "
                f"{type(model).__name__} cannot: use --arch wsum_lstm_lm, or wsum_transformer_lm "
                "without --decoder-attention-layers and --token-positional-embeddings; or "
                "--task language_modeling, or --sample-break-mode eos"
            )
        return model

    # Data

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> Any:
        """Load a split; with several data folders, from the folder of this epoch.

        Raises:
            FileNotFoundError: the split does not exist.
            ValueError: it has no sentences, or is of a format that cannot be read at any place.
        """
        if not _is_stream(self.args):
            return super().load_dataset(split, epoch=epoch, combine=combine, **kwargs)
        paths = split_paths(self.args.data)
        path = f"{paths[(epoch - 1) % len(paths)]}/{split}"
        sentences = data_utils.load_indexed_dataset(
            path, self.dictionary, self.args.dataset_impl, combine=combine
        )
        if sentences is None:
            raise FileNotFoundError(f"Dataset not found: {split} ({path})")
        if getattr(sentences, "supports_prefetch", False):
            raise ValueError(f"{path}: prepare the data with --dataset-impl mmap, the default")
        if not len(sentences):
            raise ValueError(f"{path} has no sentences")
        words = self.dictionary
        stream = TokenStream(sentences, eos=words.eos(), pad=words.pad(), unk=words.unk())
        self.datasets[split] = stream
        return stream

    def get_batch_iterator(
        self, dataset: Any, *args: Any, **named: Any
    ) -> iterators.EpochBatchIterator:
        """Batches of a split, for training or for scoring."""
        if not isinstance(dataset, TokenStream):
            return super().get_batch_iterator(dataset, *args, **named)
        if "update_epoch_batch_itr" in named:  # fairseq passes it for training only
            return self._training_iterator(dataset, **named)
        tokens, process = self.args.tokens_per_sample_valid, named.get("shard_id", 0)
        batches = scoring_batches(dataset, tokens=tokens, process=process)
        return StreamIterator(batches, self.valid_states, **_loading(named))

    def _training_iterator(
        self,
        dataset: TokenStream,
        max_sentences: Optional[int] = None,
        num_shards: int = 1,
        shard_id: int = 0,
        num_workers: int = 0,
        epoch: int = 1,
        data_buffer_size: int = 0,
        skip_remainder_batch: bool = False,
        **unused: Any,
    ) -> StreamIterator:
        """Batches of parallel streams. The arguments are those of `get_batch_iterator`.

        Raises:
            ValueError: --batch-size is missing, or the split has too few tokens for the streams.
        """
        if max_sentences is None:
            raise ValueError(
                "--task wsum_language_modeling needs --batch-size: the number of parallel streams"
            )
        numbers = list(self.args.update_freq)  # one for each epoch; the last one for all others
        groups, steps = int(numbers[min(epoch, len(numbers)) - 1]), self.args.tokens_per_sample
        streams = max_sentences * groups * num_shards
        if len(dataset) < streams * steps:
            raise ValueError(
                f"the training split has {len(dataset):,} tokens, which are too few for "
                f"{streams:,} streams with --tokens-per-sample {steps}: lower --batch-size, "
                "--update-freq or --tokens-per-sample"
            )
        batches = training_batches(
            dataset,
            streams=max_sentences,
            steps=steps,
            groups=groups,
            process=shard_id,
            processes=num_shards,
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

    def eval_lm_dataloader(self, dataset: Any, *args: Any, **named: Any) -> Any:
        """Batches for fairseq-eval-lm. Every process reads the whole stream.

        Raises:
            ValueError: --context-window is given with a stream.
        """
        if not isinstance(dataset, TokenStream):
            return super().eval_lm_dataloader(dataset, *args, **named)
        if named.get("context_window"):
            raise ValueError(
                "--context-window does not go with a stream of tokens, each of which has its whole "
                "past in the state: leave it out, or give --sample-break-mode eos"
            )
        tokens = self.args.tokens_per_sample_valid
        batches = scoring_batches(dataset, tokens=tokens, process=0)
        itr = StreamIterator(batches, StreamStates(), **_loading(named)).next_epoch_itr()
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


def _loading(options: dict[str, Any]) -> dict[str, Any]:
    """How an iterator loads batches, from the arguments of `get_batch_iterator`.

    Without a buffer, Python's garbage collector ends the process that reads the batches, and waits
    for it for five seconds.
    """
    buffer = options.get("data_buffer_size", 0)
    return {"num_workers": options.get("num_workers", 0), "buffer_size": buffer}


def _with_state(samples: Any) -> Iterator[Sample]:
    """Add one `CarriedState`, shared by all samples, which stores the states of the models."""
    carried_state = CarriedState()
    for sample in samples:
        yield {**sample, "net_input": {**sample["net_input"], "carried_state": carried_state}}
