"""`--arch wsum_classifier`: sentences to classes, for fairseq's `--task sentence_prediction`.

Shapes: B sentences, T words, E embedding, F features of a word, K classes.
"""

# Without `from __future__ import annotations`: fairseq needs the types of the options.
from dataclasses import dataclass
from typing import Any, Optional

import torch
from fairseq.data import Dictionary
from fairseq.models import BaseFairseqModel, register_model
from fairseq.tasks import FairseqTask
from torch import Tensor, nn

from ...layer import WsumLSTM
from ..modules.dropout import Dropout, LockedDropout
from .dictionaries import remember_words
from .fields import option, probability, size
from .initial_values import embedding, load_embedding
from .options import CellOptions, described_cell, option_values

# fairseq needs `Optional[X]` here: see options.py
# ruff: noqa: UP045
POOLINGS = ("last", "max", "attention")


@dataclass
class WsumClassifierConfig(CellOptions):
    """The options."""

    encoder_embed_dim: int = size(300, "word embedding dimension")
    encoder_embed_path: Optional[str] = option(None, "path to pre-trained word embedding")
    encoder_layers: int = option(
        1,
        "number of layers; 0: none, and a sentence is the mean of its embeddings",
        at_least=0,
    )
    encoder_hidden_size: int = size(300, "hidden size of each direction")
    encoder_bidirectional: bool = option(False, "run each layer in two directions")
    pooling: str = option(
        "last",
        "features of a sentence: of its last word (in the backward direction of its first), or the "
        "max over its words, or their sum weighted by attention (Yang et al., 2016)",
        one_of=lambda: POOLINGS,
    )
    dropout: float = probability(
        0.5, "dropout probability of embeddings, between layers and of the sentence's features"
    )
    locked_dropout: bool = option(
        False, "drop the same features of all words of a sentence (variational dropout)"
    )


class AttentionPooling(nn.Module):
    """The words' features, weighted by a softmax of v . tanh(W y_t + b) (Yang et al., 2016)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(size, size)
        self.query = nn.Linear(size, 1, bias=False)

    def forward(self, y: Tensor, mask: Tensor) -> Tensor:
        """T x B x F, with the mask of padding T x B -> B x F."""
        scores = self.query(torch.tanh(self.inner(y))).squeeze(-1)
        weights = scores.float().masked_fill(mask, float("-inf")).softmax(0).to(y)
        return (weights.unsqueeze(-1) * y).sum(0)


class WsumClassifierEncoder(nn.Module):
    """Embeddings, layers of a cell, and the pooling of their outputs."""

    def __init__(self, cfg: WsumClassifierConfig, dictionary: Dictionary) -> None:
        super().__init__()
        name = type(self).__name__
        self.dictionary = dictionary
        self.pooling = cfg.pooling
        self.embed_tokens = embedding(dictionary, cfg.encoder_embed_dim)
        nn.init.uniform_(self.embed_tokens.weight, -0.1, 0.1)
        nn.init.zeros_(self.embed_tokens.weight[dictionary.pad()])
        kind = LockedDropout if cfg.locked_dropout else Dropout
        self.dropout = kind(cfg.dropout, module_name=name)
        self.dropout_out = Dropout(cfg.dropout, module_name=name)
        self.output_units = cfg.encoder_embed_dim
        self.lstm = None
        if cfg.encoder_layers:
            self.lstm = WsumLSTM(
                cfg.encoder_embed_dim,
                cfg.encoder_hidden_size,
                cfg.encoder_layers,
                dropout=self.dropout,
                bidirectional=cfg.encoder_bidirectional,
                cell=described_cell(cfg, cfg.cell),
                backend=cfg.lstm_backend,
            )
            self.output_units = cfg.encoder_hidden_size * self.lstm.num_directions
            if cfg.pooling == "attention":
                self.attention = AttentionPooling(self.output_units)
        remember_words(self)

    def forward(self, tokens: Tensor) -> Tensor:
        """The features of sentences, B x F, from B x T tokens with padding on either side."""
        mask = tokens.eq(self.dictionary.pad()).t()
        x = self.dropout(self.embed_tokens(tokens).transpose(0, 1))
        return self.dropout_out(self._pool(x, mask))

    def _pool(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.lstm is None:  # embeddings of padding may be dropped, but are zero
            return x.sum(0) / (~mask).sum(0).unsqueeze(-1).to(x)
        y, state = self.lstm(x, padding_mask=mask if mask.any() else None)
        if self.pooling == "last":
            return torch.cat(state[0][-self.lstm.num_directions :].unbind(), -1)
        if self.pooling == "max":
            return y.masked_fill(mask.unsqueeze(-1), float("-inf")).amax(0)
        features: Tensor = self.attention(y, mask)
        return features


@register_model("wsum_classifier", dataclass=WsumClassifierConfig)
class WsumClassifier(BaseFairseqModel):
    """A classifier of sentences: an encoder, and a linear layer for each classification head."""

    def __init__(self, cfg: WsumClassifierConfig, dictionary: Dictionary) -> None:
        super().__init__()
        self.encoder = WsumClassifierEncoder(cfg, dictionary)
        self.classification_heads = nn.ModuleDict()

    @classmethod
    def build_model(cls, args: Any, task: FairseqTask) -> "WsumClassifier":
        """Build the model that `args` (a dataclass, `DictConfig` or `Namespace`) describes.

        Raises:
            ValueError: an option is invalid; the message names it.
        """
        cfg = WsumClassifierConfig(**option_values(WsumClassifierConfig, args))
        cfg.check()
        model = cls(cfg, task.source_dictionary)
        encoder = model.encoder
        load_embedding(cfg.encoder_embed_path, encoder.dictionary, encoder.embed_tokens)
        return model

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

        Args:
            src_tokens: B x T, with padding on either side.
            src_lengths, features_only: unused arguments of fairseq's interface.
            classification_head_name: the classifier.
        """
        x = self.encoder(src_tokens)
        if classification_head_name is not None:
            x = self.classification_heads[classification_head_name](x)
        return x, None
