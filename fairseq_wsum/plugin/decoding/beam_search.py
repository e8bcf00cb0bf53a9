"""fairseq's beam search, on a few candidates of each hypothesis in place of the whole vocabulary.

A step needs the best 2 * beam words of each hypothesis, and the special symbols, which fairseq's
search forbids or penalises by their place in the vocabulary. So `CandidateEnsemble` returns the
log-probabilities of these words alone. fairseq's search runs on them as if they were a small
vocabulary, in which the special symbols have their usual places, and `CandidateSearch` names the
words that it chooses. Hypotheses and scores are fairseq's, up to rounding and the order of equals.

Shapes: N hypotheses of all sentences, C candidates: F special symbols and 2 * beam other words.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.search import BeamSearch
from fairseq.sequence_generator import (
    EnsembleModelWithAlignment,
    SequenceGenerator,
    SequenceGeneratorWithAlignment,
)
from fairseq.tasks import FairseqTask
from torch import Tensor, nn

from ..modules.output_layers import ends_in_softmax
from .candidates import candidates

VARIABLE = "FAIRSEQ_WSUM_SEARCH"

logger = logging.getLogger(__name__)
_searching = threading.RLock()


def _alone(generate: Callable[..., Any]) -> Callable[..., Any]:
    """One search at a time, as `share_sources` changes models, which threads may share."""

    @functools.wraps(generate)
    def generate_alone(*args: Any, **named: Any) -> Any:
        with _searching:
            return generate(*args, **named)

    return generate_alone


class CandidateEnsemble(EnsembleModelWithAlignment):
    """fairseq's ensemble, which returns the candidates of a step.

    Args:
        models: the models, whose probabilities are averaged.
        first: F, the number of special symbols, with which the vocabulary begins.
        beam_size: the number of hypotheses of a sentence.
    """

    def __init__(self, models: Sequence[nn.Module], first: int, beam_size: int) -> None:
        super().__init__(models)
        self.first = first
        self.beam_size = beam_size
        self.words = torch.empty(0)  # of the latest step, N x C
        single = self.models_size == 1 and self.has_incremental_states()
        self._logits = single and ends_in_softmax(self.single_model)
        self._scores = torch.empty(0)  # of all words: logits, or else log-probabilities
        self._with_state = [
            [part for part in model.decoder.modules() if hasattr(part, "reorder_incremental_state")]
            for model in (self.models if self.has_incremental_states() else ())
        ]

    def forward_decoder(
        self, tokens: Tensor, encoder_outs: Any, incremental_states: Any, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """The log-probabilities of the candidates, N x C, and the attention, N x S source."""
        given = (tokens, encoder_outs, incremental_states, temperature)
        if self._logits:
            self._scores, attention = self._forward_logits(*given)
        else:
            self._scores, attention = super().forward_decoder(*given)
        k = min(2 * self.beam_size, self._scores.size(1) - self.first)
        log_p, self.words = candidates(self._scores, self.first, k, normalised=not self._logits)
        return log_p, attention

    def _forward_logits(
        self, tokens: Tensor, encoder_outs: Any, incremental_states: Any, temperature: float
    ) -> tuple[Tensor, Tensor | None]:
        encoder_out = encoder_outs[0] if encoder_outs else None
        logits, *rest = self.single_model.decoder.forward(
            tokens, encoder_out=encoder_out, incremental_state=incremental_states[0]
        )
        attention = rest[0] if rest else None
        if isinstance(attention, dict):
            attention = attention["attn"]
        if isinstance(attention, list):
            attention = attention[0]
        logits = logits[:, -1]
        if temperature != 1:
            logits = logits / temperature
        return logits, None if attention is None else attention[:, -1]

    def log_p(self, rows: Tensor, words: Tensor) -> Tensor:
        """The log-probability of one word after each of some hypotheses, at the latest step."""
        scores = self._scores[rows]
        log_p = torch.log_softmax(scores, -1, torch.float32) if self._logits else scores
        log_p = log_p.gather(1, words.unsqueeze(1)).squeeze(1)
        return log_p.nan_to_num(-torch.inf, torch.inf, -torch.inf)

    def reorder_incremental_state(self, incremental_states: Any, new_order: Tensor) -> None:
        """As fairseq's, which searches all modules of a model for those with a state each time."""
        for modules, states in zip(self._with_state, incremental_states, strict=False):
            for module in modules:
                module.reorder_incremental_state(states, new_order)

    # All hypotheses of a sentence have one source, so that most reorderings change nothing.

    def share_sources(self, beam_size: int) -> None:
        """Let attention to the source read it once for every `beam_size` hypotheses."""
        for model in self.models if self.has_incremental_states() else ():
            model.decoder.set_beam_size(beam_size)

    def forward_encoder(self, net_input: dict[str, Tensor]) -> Any:
        self._rows = 0  # hypotheses of which `encoder_outs` has the source
        return super().forward_encoder(net_input)

    def reorder_encoder_out(self, encoder_outs: Any, new_order: Tensor) -> Any:
        rows = torch.arange(self._rows, device=new_order.device)
        if torch.equal(new_order // self.beam_size, rows // self.beam_size):
            return encoder_outs
        self._rows = len(new_order)
        return super().reorder_encoder_out(encoder_outs, new_order)


class CandidateSearch(BeamSearch):
    """fairseq's search among the candidates of a `CandidateEnsemble`."""

    def __init__(self, tgt_dict: Dictionary, ensemble: CandidateEnsemble) -> None:
        super().__init__(tgt_dict)
        self._ensemble = (ensemble,)  # a tuple, as it is no part of this module

    def step(
        self, step: int, lprobs: Tensor, scores: Tensor | None, *args: Any, **named: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The scores, words and hypotheses of the best candidates of each sentence."""
        scores, places, beams = super().step(step, lprobs, scores, *args, **named)
        (ensemble,) = self._ensemble
        sentences, _, width = lprobs.shape
        words = ensemble.words.view(sentences, -1).gather(1, beams * width + places)
        return scores, words, beams


class CandidateGenerator(SequenceGenerator):
    """fairseq's `SequenceGenerator` on candidates."""

    model: Any

    def __init__(self, models: Any, tgt_dict: Dictionary, **options: Any) -> None:
        super().__init__(models, tgt_dict, **options)
        first = tgt_dict.nspecial
        self.model = CandidateEnsemble(list(self.model.models), first, self.beam_size)
        self.search = CandidateSearch(tgt_dict, self.model)
        self.vocab_size = min(first + 2 * self.beam_size, len(tgt_dict))

    @_alone
    def generate(self, models: Any, sample: dict[str, Any], **named: Any) -> Any:
        source = sample["net_input"].get("src_tokens")
        if source is None or len(source) > 1:  # a sentence alone is slower with it
            self.model.share_sources(self.beam_size)
        # A prefix that is empty leaves one hypothesis, and fairseq's search would wait for others.
        # Without a prefix, a sentence that never ends has scores that are not finite: an error.
        self.search.stop_on_max_len = named.get("prefix_tokens") is not None
        try:
            return super().generate(models, sample, **named)
        finally:  # in training, each sentence has its own source
            self.model.share_sources(1)

    def _prefix_tokens(
        self,
        step: int,
        lprobs: Tensor,
        scores: Tensor,
        tokens: Tensor,
        prefix_tokens: Tensor,
        beam_size: int,
    ) -> Any:
        """Make the next word of each prefix the first candidate after the special symbols."""
        ensemble: CandidateEnsemble = self.model
        first = ensemble.first
        words = prefix_tokens[:, step].repeat_interleave(beam_size)
        rows = (words >= first).nonzero().squeeze(1)  # whose next word is no special symbol
        if len(rows):
            lprobs[rows, first] = ensemble.log_p(rows, words[rows]).type_as(lprobs)
            ensemble.words[rows, first] = words[rows]
        prefix_tokens = prefix_tokens.clone()
        prefix_tokens[:, step].clamp_(max=first)
        return super()._prefix_tokens(step, lprobs, scores, tokens, prefix_tokens, beam_size)


class CandidateGeneratorWithAlignment(CandidateGenerator, SequenceGeneratorWithAlignment):
    """fairseq's `SequenceGeneratorWithAlignment` on candidates."""


_KINDS = {
    SequenceGenerator: CandidateGenerator,
    SequenceGeneratorWithAlignment: CandidateGeneratorWithAlignment,
}


def why_not(generator: Any) -> str | None:
    """Why a generator of fairseq's needs the probabilities of all words; None if it does not."""
    if type(generator) not in _KINDS:
        return f"it is a {type(generator).__name__}"
    reasons = {
        type(generator.search).__name__: type(generator.search) is not BeamSearch,
        "--no-repeat-ngram-size": generator.repeat_ngram_blocker is not None,
        "--lm-path": generator.lm_model is not None,
        "words that are never produced": generator.token_indices_to_suppress is not None,
        "the end of a sentence is no special symbol": generator.eos >= generator.tgt_dict.nspecial,
        f"{VARIABLE}={os.environ.get(VARIABLE)}": os.environ.get(VARIABLE) == "fairseq",
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def apply() -> None:
    """Let the tasks of fairseq build generators that run on candidates, where they can."""
    build_generator = FairseqTask.build_generator

    @functools.wraps(build_generator)
    def build_fast_generator(
        self: FairseqTask,
        models: Any,
        args: Any,
        seq_gen_cls: Any = None,
        extra_gen_cls_kwargs: dict[str, Any] | None = None,
        **named: Any,
    ) -> Any:
        given = dict(extra_gen_cls_kwargs or {})
        generator = build_generator(self, models, args, seq_gen_cls, given, **named)
        if getattr(args, "score_reference", False):
            return generator
        reason = why_not(generator)
        _say(reason)
        if reason is not None:
            return generator
        if isinstance(generator, SequenceGeneratorWithAlignment):
            given["print_alignment"] = args.print_alignment
        return build_generator(self, models, args, _KINDS[type(generator)], given, **named)

    FairseqTask.build_generator = build_fast_generator
    SequenceGenerator.generate = _alone(SequenceGenerator.generate)


@functools.cache  # once in a program for each reason
def _say(reason: str | None) -> None:
    if reason is None:
        logger.info("beam search on the best candidates (%s=fairseq: fairseq's search)", VARIABLE)
    else:
        logger.info("fairseq's own search, which is slower: %s", reason)
