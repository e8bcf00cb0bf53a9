"""`--arch wsum_transformer_lm`: Transformer language models with gated sums for self-attention."""

from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from fairseq.models import register_model
from fairseq.models.transformer import TransformerConfig
from fairseq.models.transformer_lm import (
    DEFAULT_MAX_TARGET_POSITIONS,
    TransformerLanguageModel,
    TransformerLanguageModelConfig,
)
from fairseq.tasks import FairseqTask
from omegaconf import II
from torch import Tensor

from ...ops.products import wide_products
from ..modules import CarriedState, WsumSelfAttention, use_dropout
from ..modules.states import IncrementalState
from .gated_sum_options import (
    NO_POSITIONS,
    GatedSumOptions,
    GatedSums,
    check_heads,
    check_quantisation,
    gated_sums,
    set_positions,
)
from .options import (
    MAX_POSITIONS,
    check_cells,
    check_cutoffs,
    check_language_modeling,
    check_probabilities,
    check_sharing,
    check_sizes,
    first,
    flag,
    option_values,
    read_cutoffs,
    refuse_alignments,
)
from .wsum_transformer_layers import WsumTransformerDecoder

CUTOFFS = ("adaptive_input_cutoff", "adaptive_softmax_cutoff")

# fairseq needs `Optional[X]` here: see options.py
# ruff: noqa: UP045


@dataclass
class WsumTransformerLMConfig(TransformerLanguageModelConfig, GatedSumOptions):
    """The options.

    The defaults are those of fairseq's `transformer_lm`, but without positions, and with the
    input and the output as wide as the decoder.
    """

    decoder_input_dim: Optional[int] = field(
        default=None,
        metadata={"help": "decoder input dimension (default: --decoder-embed-dim)"},
    )
    decoder_output_dim: Optional[int] = field(
        default=None,
        metadata={"help": "decoder output dimension (default: --decoder-embed-dim)"},
    )
    no_token_positional_embeddings: bool = field(default=False, metadata=NO_POSITIONS)
    # as in fairseq, but with a value for tasks that lack the option, which `build_model` refuses
    add_bos_token: bool = II("oc.select:task.add_bos_token,false")
    tokens_per_sample: Optional[int] = II("oc.select:task.tokens_per_sample,null")
    max_target_positions: Optional[int] = II("oc.select:task.max_target_positions,null")


class WsumTransformerLMDecoder(WsumTransformerDecoder):
    """A decoder without attention over a source, which can continue from an earlier state."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        # `modules()`, as iterating over `self.layers` itself skips layers with layer drop
        modules = self.layers.modules()
        self._sums = tuple(module for module in modules if isinstance(module, WsumSelfAttention))

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: None = None,
        incremental_state: IncrementalState | None = None,
        features_only: bool = False,
        *,
        src_lengths: Tensor | None = None,
        return_all_hiddens: bool = False,
        **named: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """fairseq's `forward`; `named` are further arguments of `extract_features`."""
        with wide_products(next(self.parameters())):
            x, extra = self.extract_features(
                prev_output_tokens, encoder_out, incremental_state, **named
            )
            return x if features_only else self.output_layer(x), extra

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: None = None,
        *args: Any,
        carried_state: CarriedState | None = None,
        **named: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """fairseq's `extract_features`.

        Args:
            prev_output_tokens: B x T.
            encoder_out, args, named: fairseq's further arguments.
            carried_state: provides the initial state and stores the final state. The state of all
                layers together is L x B x H for h and c, with L layers.
        """
        before = None if carried_state is None else carried_state.take(self)
        for k, gated_sum in enumerate(self._sums):
            state = None if before is None else tuple(part[k : k + 1] for part in before)
            gated_sum.carry(state, leave=carried_state is not None)
        features: tuple[Tensor, dict[str, Any]]
        features = super().extract_features(prev_output_tokens, encoder_out, *args, **named)
        if carried_state is not None:
            self._leave(carried_state)
        return features

    def _leave(self, carried_state: CarriedState) -> None:
        states = [(one.state_after, one.state_before) for one in self._sums]
        like = next((state for pair in states for state in pair if state is not None), None)
        if like is None:  # layer drop has left out all layers so far
            return
        zero = tuple(torch.zeros_like(part) for part in like)
        after = [first(*state, zero) for state in states]
        carried_state.leave(self, tuple(torch.cat(parts) for parts in zip(*after, strict=True)))


@register_model("wsum_transformer_lm", dataclass=WsumTransformerLMConfig)
class WsumTransformerLanguageModel(TransformerLanguageModel):
    """fairseq's Transformer language model, with gated sums in place of self-attention.

    If a task passes it a `CarriedState`, as `--task wsum_language_modeling` does, it continues from
    its previous final state. Layers that keep self-attention have no such state, and positions
    would start again with every part of the text.
    """

    carries_state = True

    @classmethod
    def build_model(cls, args: Any, task: FairseqTask) -> "WsumTransformerLanguageModel":
        """Build the model that `args` (a dataclass, `DictConfig` or `Namespace`) describes.

        Raises:
            ValueError: an option is invalid, or options are incompatible; the message names them.
        """
        cfg, sums = read_config(args)
        check_language_modeling(task, "wsum_transformer_lm")
        for name, words in zip(
            CUTOFFS, (task.source_dictionary, task.target_dictionary), strict=True
        ):
            if (value := getattr(cfg, name)) is not None:
                check_cutoffs(name, read_cutoffs(name, value), words)
        embed_tokens = super().build_model(_without_layers(cfg), task).decoder.embed_tokens
        nested = TransformerConfig.from_namespace(Namespace(**vars(cfg)))
        nested.decoder.gated_sums = sums
        model = cls(
            WsumTransformerLMDecoder(
                nested, task.target_dictionary, embed_tokens, no_encoder_attn=True
            )
        )
        use_dropout(model)
        model.carries_state = not sums.attention_layers and cfg.no_token_positional_embeddings
        return model

    def prepare_for_inference_(self, cfg: Any) -> None:
        """Extend fairseq's hook before decoding, which ignores that alignments need attention."""
        super().prepare_for_inference_(cfg)
        # with --lm-path the alignments are those of the translation model
        if getattr(cfg.generation, "lm_path", None) is None:
            refuse_alignments(cfg.generation)


def _without_layers(cfg: WsumTransformerLMConfig) -> WsumTransformerLMConfig:
    """The options of the smallest model, which is built for its embeddings.

    fairseq has no function for them. The output shares the embedding where it can, so that no
    second one is made.
    """
    own_output = cfg.adaptive_input or cfg.character_embeddings
    changes = {
        "decoder_layers": 0,
        "decoder_layers_to_keep": None,
        "base_layers": 0,
        "share_decoder_input_output_embed": not own_output,
    }
    return WsumTransformerLMConfig(**option_values(WsumTransformerLMConfig, cfg) | changes)


def read_config(args: Any) -> tuple[WsumTransformerLMConfig, GatedSums]:
    """Read and check the configuration that fairseq passes to `build_model`.

    Args:
        args: a `WsumTransformerLMConfig`, its `DictConfig`, or a `Namespace` that may lack options.

    Raises:
        ValueError: an option is invalid, or options are incompatible; the message names them.
    """
    cfg = WsumTransformerLMConfig(**option_values(WsumTransformerLMConfig, args))
    if cfg.decoder_layers_to_keep:
        cfg.decoder_layers = len(str(cfg.decoder_layers_to_keep).split(","))
    cfg.decoder_input_dim = first(cfg.decoder_input_dim, cfg.decoder_embed_dim)
    cfg.decoder_output_dim = first(cfg.decoder_output_dim, cfg.decoder_embed_dim)
    cfg.checkpoint_activations = cfg.checkpoint_activations or cfg.offload_activations
    sizes = ("embed_dim", "ffn_embed_dim", "hidden_size", "layers", "attention_heads")
    check_cells(cfg, cell_options=("cell",))
    check_sizes(cfg, [f"decoder_{size}" for size in sizes])
    check_probabilities(cfg)
    check_quantisation(cfg)
    _check_embeddings(cfg)
    sums = gated_sums(cfg, "decoder", cfg.decoder_embed_dim)
    if sums.attention_layers or cfg.scale_heads:
        check_heads(cfg, "decoder")
    set_positions(cfg, sums)
    # a model without positions has no limit, whatever the length of its training samples
    limit = MAX_POSITIONS if cfg.no_token_positional_embeddings else cfg.tokens_per_sample
    limits = (cfg.max_target_positions, limit, DEFAULT_MAX_TARGET_POSITIONS)
    cfg.max_target_positions = first(*limits)
    return cfg, sums


def _check_embeddings(cfg: WsumTransformerLMConfig) -> None:
    """Check what fairseq's `transformer_lm` notices in the first batch only, or with an assertion.

    Raises:
        ValueError: options are incompatible; the message names them.
    """
    if cfg.share_decoder_input_output_embed and cfg.adaptive_softmax_cutoff is None:
        for option in ("adaptive_input", "character_embeddings"):
            if getattr(cfg, option):
                raise ValueError(
                    f"--share-decoder-input-output-embed with {flag(option)}: there is no single "
                    "matrix of embeddings to share; omit one of them"
                )
        check_sharing(
            decoder_input_dim=cfg.decoder_input_dim, decoder_output_dim=cfg.decoder_output_dim
        )
    if cfg.adaptive_input and cfg.adaptive_input_cutoff is None:
        raise ValueError("--adaptive-input needs --adaptive-input-cutoff, such as 2000,10000")
    if cfg.tie_adaptive_weights:
        if not cfg.adaptive_input:
            raise ValueError("--tie-adaptive-weights needs --adaptive-input: give both, or neither")
        for ours, other in (
            ("adaptive_input_cutoff", "adaptive_softmax_cutoff"),
            ("adaptive_input_factor", "adaptive_softmax_factor"),
            ("decoder_input_dim", "decoder_output_dim"),
        ):
            values = getattr(cfg, ours), getattr(cfg, other)
            if values[0] != values[1]:
                raise ValueError(
                    f"--tie-adaptive-weights with {flag(ours)} {values[0]} and {flag(other)} "
                    f"{values[1]}: give both the same value"
                )
