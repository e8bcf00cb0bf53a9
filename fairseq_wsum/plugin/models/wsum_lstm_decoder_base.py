"""The base class of the translation and language model decoders: the output layer."""

from __future__ import annotations

from fairseq.data import Dictionary
from fairseq.models import FairseqDecoder, FairseqIncrementalDecoder
from fairseq.modules import AdaptiveSoftmax
from torch import Tensor, nn

from ...products import ForFewRows, linear, product
from .dictionaries import remember_words
from .options import MAX_POSITIONS
from .wsum_lstm_config import WsumLSTMConfig
from .wsum_lstm_lm_config import WsumLSTMLMConfig


class WsumDecoderBase(FairseqIncrementalDecoder):
    """Maps features to scores over the vocabulary.

    Args:
        cfg: the options of the model. If its `out_embed_dim` differs from its `features`, a
            linear map is added before the output embedding.
        dictionary: the target dictionary.
        embed_tokens: the input embedding.
        dropout_module: dropout on the features and on the output of the linear map.
    """

    def __init__(
        self,
        cfg: WsumLSTMConfig | WsumLSTMLMConfig,
        dictionary: Dictionary,
        embed_tokens: nn.Embedding,
        dropout_module: nn.Module,
    ) -> None:
        super().__init__(dictionary)
        self.padding_idx = dictionary.pad()
        self.embed_tokens = embed_tokens
        self.dropout_out_module = dropout_module
        out_dim = cfg.out_embed_dim
        features = cfg.features
        self.additional_fc = nn.Linear(features, out_dim) if out_dim != features else None
        self.share_input_output_embed = cfg.shares_output
        self.adaptive_softmax: AdaptiveSoftmax | None = None
        vocabulary = len(dictionary)
        if cfg.cutoffs is not None:
            if cfg.cutoffs[-1] > vocabulary:
                raise ValueError(
                    f"--adaptive-softmax-cutoff {','.join(map(str, cfg.cutoffs))}: give numbers "
                    f"below the size of the dictionary, which is {vocabulary:,}"
                )
            self.adaptive_softmax = AdaptiveSoftmax(
                vocabulary, out_dim, cfg.cutoffs, dropout=cfg.decoder.dropout_out
            )
        elif not self.share_input_output_embed:
            self.fc_out = nn.Linear(out_dim, vocabulary)
        self._copy: ForFewRows | None = None  # of the output matrix, in decoding
        self.position_limit = cfg.max_target_positions or MAX_POSITIONS
        remember_words(self)

    # `extract_features`, then `output_layer`; FairseqIncrementalDecoder itself has no `forward`
    forward = FairseqDecoder.forward

    def project(self, features: Tensor) -> Tensor:
        """Apply the linear map before the output embedding, if there is one."""
        if self.additional_fc is None:
            return features
        return self.dropout_out_module(linear(self.additional_fc, features))

    def output_layer(self, features: Tensor) -> Tensor:
        """Map features to logits, or return them unchanged for the adaptive softmax."""
        if self.adaptive_softmax is not None:
            return features
        if self.share_input_output_embed:
            return product(features, self.embed_tokens.weight, copy=self._copy)
        return linear(self.fc_out, features, self._copy)

    def make_generation_fast_(self, **unused: object) -> None:
        """fairseq's hook before decoding."""
        if self.adaptive_softmax is None:
            layer = self.embed_tokens if self.share_input_output_embed else self.fc_out
            self._copy = ForFewRows(layer.weight)

    def max_positions(self) -> int:
        return self.position_limit
