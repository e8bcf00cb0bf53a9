"""Models whose probabilities are the softmax of their logits."""

from __future__ import annotations

from typing import Any

from fairseq.models import BaseFairseqModel, FairseqDecoder
from fairseq.models.transformer import TransformerModelBase

_PROBABILITIES = ("get_normalized_probs", "get_normalized_probs_scriptable")
# fairseq's own; those of its Transformer only call the others
_SOFTMAX = {
    getattr(base, name)
    for base in (FairseqDecoder, BaseFairseqModel, TransformerModelBase)
    for name in _PROBABILITIES
}


def adaptive_softmax(model: Any) -> Any:
    """The adaptive softmax of a model; None if it has none."""
    return getattr(getattr(model, "decoder", None), "adaptive_softmax", None)


def ends_in_softmax(model: Any) -> bool:
    """Whether a model's probabilities are fairseq's softmax over its first output."""
    decoder = getattr(model, "decoder", None)
    return (
        isinstance(decoder, FairseqDecoder)
        and adaptive_softmax(model) is None
        and all(
            getattr(getattr(part, name), "__func__", None) in _SOFTMAX
            for part in (decoder, model)
            for name in _PROBABILITIES
        )
    )
