"""The options of `--arch wsum_transformer_lm`."""

from dataclasses import dataclass
from typing import Any, Optional

from fairseq.models.transformer_lm import (
    DEFAULT_MAX_TARGET_POSITIONS,
    TransformerLanguageModelConfig,
)
from omegaconf import II

from .fields import option
from .options import MAX_POSITIONS, first
from .recurrent_options import (
    RecurrentLayers,
    RecurrentOptions,
    recurrent_layers,
    set_positions,
)

# fairseq needs `Optional[X]` here: see options.py
# ruff: noqa: UP045


@dataclass
class WsumTransformerLMConfig(TransformerLanguageModelConfig, RecurrentOptions):
    """The options.

    The defaults are those of fairseq's `transformer_lm`, but without positions, and with the
    input and the output as wide as the decoder.
    """

    decoder_input_dim: Optional[int] = option(
        None, "decoder input dimension (default: --decoder-embed-dim)"
    )
    decoder_output_dim: Optional[int] = option(
        None, "decoder output dimension (default: --decoder-embed-dim)"
    )
    # as in fairseq, but with a value for tasks that lack the option, which `build_model` refuses
    add_bos_token: bool = II("oc.select:task.add_bos_token,false")
    tokens_per_sample: Optional[int] = II("oc.select:task.tokens_per_sample,null")
    max_target_positions: Optional[int] = II("oc.select:task.max_target_positions,null")


def read_config(args: Any) -> tuple[WsumTransformerLMConfig, RecurrentLayers]:
    """`WsumTransformerLMConfig.read`, and what depends on several options.

    Raises:
        ValueError: an option is invalid, or options are incompatible; the message names them.
    """
    cfg = WsumTransformerLMConfig.read(args)
    cfg.decoder_input_dim = first(cfg.decoder_input_dim, cfg.decoder_embed_dim)
    cfg.decoder_output_dim = first(cfg.decoder_output_dim, cfg.decoder_embed_dim)
    cfg.checkpoint_activations = cfg.checkpoint_activations or cfg.offload_activations
    recurrent = recurrent_layers(cfg, "decoder", cfg.decoder_embed_dim)
    cfg.decoder_layers = recurrent.layers
    set_positions(cfg, recurrent)
    # a model without positions has no limit, whatever the length of its training samples
    limit = MAX_POSITIONS if cfg.no_token_positional_embeddings else cfg.tokens_per_sample
    limits = (cfg.max_target_positions, limit, DEFAULT_MAX_TARGET_POSITIONS)
    cfg.max_target_positions = first(*limits)
    return cfg, recurrent
