"""`--arch wsum_classifier`: sentences to classes, for fairseq's `--task sentence_prediction`.

Shapes: B sentences, T words, F features, K classes.
"""

# Without `from __future__ import annotations`: fairseq needs the types of the options.
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.models import BaseFairseqModel, register_model
from fairseq.tasks import FairseqTask
from torch import Tensor, nn

from ..modules.dropout import Dropout, LockedDropout
from .dictionaries import remember_words
from .fields import option, probability, size
from .initial_values import embedding, init_uniform, load_embedding
from .words import WordOptions


@dataclass
class WsumClassifierConfig(WordOptions):
    """The options."""

    encoder_embed_dim: int = size(300, "word embedding dimension")
    encoder_layers: int = option(
        1, "number of layers; 0: none, a sentence is the mean of its embeddings", at_least=0
    )
    encoder_hidden_size: int = size(300, "hidden size of each direction")
    encoder_bidirectional: bool = option(False, "run each layer in two directions")
    pooling: str = option(
        "last",
        "features of a sentence: last, those of its last word (in the backward direction of its "
        "first); max, over its words; attention, their sum weighted as by Yang et al. (2016)",
        one_of=lambda: ("last", "max", "attention"),
    )
    dropout: float = probability(
        0.5, "dropout probability of embeddings, between layers and of the sentence's features"
    )
    locked_dropout: bool = option(False, "drop the same features of all words of a sentence")


class WsumClassifierEncoder(nn.Module):
    """Embeddings, layers of a cell, and the pooling of their outputs."""

    def __init__(self, cfg: WsumClassifierConfig, task: FairseqTask) -> None:
        super().__init__()
        self.dictionary = dictionary = task.source_dictionary
        self.embed_tokens = embedding(dictionary, cfg.encoder_embed_dim)
        init_uniform(self.embed_tokens, 0.1)
        load_embedding(cfg.encoder_embed_path, dictionary, self.embed_tokens)
        self.dropout = (LockedDropout if cfg.locked_dropout else Dropout)(cfg.dropout)
        self.dropout_out = Dropout(cfg.dropout)
        self.lstm, self.output_units = None, cfg.encoder_embed_dim
        if cfg.encoder_layers:
            features, both = cfg.encoder_embed_dim, cfg.encoder_bidirectional
            self.lstm = cfg.layers(features, cfg.encoder_layers, self.dropout, both)
            self.output_units = cfg.encoder_hidden_size * self.lstm.num_directions
        self.pooling, size = cfg.pooling, self.output_units
        if self.lstm is not None and self.pooling == "attention":
            # softmax over t of v . tanh(W y_t + b)
            parts = nn.Linear(size, size), nn.Tanh(), nn.Linear(size, 1, bias=False)
            self.attention = nn.Sequential(*parts)
        remember_words(self, labels=getattr(task, "label_dictionary", None))

    def forward(self, tokens: Tensor) -> Tensor:
        """The features of sentences, B x F, from B x T tokens with padding on either side."""
        mask = tokens.eq(self.dictionary.pad()).t()
        x = self.dropout(self.embed_tokens(tokens).transpose(0, 1))
        return self.dropout_out(self._pool(x, mask))

    def _pool(self, x: Tensor, mask: Tensor) -> Tensor:
        """T x B x C embeddings, which are zero at padding, -> B x F."""
        if self.lstm is None:
            return x.sum(0) / (~mask).sum(0).unsqueeze(-1).to(x)
        y, state = self.lstm(x, padding_mask=mask if mask.any() else None)
        padding = mask.unsqueeze(-1)
        if self.pooling == "last":
            return torch.cat(state[0][-self.lstm.num_directions :].unbind(), -1)
        if self.pooling == "max":
            return y.masked_fill(padding, float("-inf")).amax(0)
        return (self.attention(y).masked_fill(padding, float("-inf")).softmax(0) * y).sum(0)


@register_model("wsum_classifier", dataclass=WsumClassifierConfig)
class WsumClassifier(BaseFairseqModel):
    """A classifier of sentences: an encoder, and a linear layer for each classification head."""

    def __init__(self, encoder: WsumClassifierEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.classification_heads = nn.ModuleDict()

    @classmethod
    def build_model(cls, args: Any, task: FairseqTask) -> "WsumClassifier":
        """Build the model that `args` (a dataclass, `DictConfig` or `Namespace`) describes.

        Raises:
            ValueError: an option is invalid; the message names it.
        """
        cfg = WsumClassifierConfig.read(args)
        return cls(WsumClassifierEncoder(cfg, task))

    def register_classification_head(self, name: str, num_classes: int) -> None:
        """Add a linear classifier; fairseq's task calls this."""
        self.classification_heads[name] = nn.Linear(self.encoder.output_units, num_classes)

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        features_only: bool = True,
        classification_head_name: str | None = None,
    ) -> tuple[Tensor, None]:
        """The scores of the classes, B x K; without the name of a head the features, B x F.

        fairseq's interface has `src_lengths` and `features_only`, which are not used.
        """
        x = self.encoder(src_tokens)
        if classification_head_name is not None:
            x = self.classification_heads[classification_head_name](x)
        return x, None
