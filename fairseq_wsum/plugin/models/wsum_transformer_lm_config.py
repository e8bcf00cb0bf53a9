"""The options of `--arch wsum_transformer_lm`."""

from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.models.transformer_lm import (
    DEFAULT_MAX_TARGET_POSITIONS,
    TransformerLanguageModelConfig,
)
from omegaconf import II

from .checks import check_cells, check_criterion, check_probabilities, check_sharing, check_sizes
from .options import MAX_POSITIONS, first, flag, option_values
from .recurrent_options import (
    NO_POSITIONS,
    RecurrentLayers,
    RecurrentOptions,
    check_heads,
    check_recurrent_layers,
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


def read_config(args: Any) -> tuple[WsumTransformerLMConfig, RecurrentLayers]:
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
    check_criterion(cfg)
    _check_embeddings(cfg)
    recurrent = recurrent_layers(cfg, "decoder", cfg.decoder_embed_dim)
    check_recurrent_layers(cfg, recurrent)
    if recurrent.attention_layers or cfg.scale_heads:
        check_heads(cfg, "decoder")
    set_positions(cfg, recurrent)
    # a model without positions has no limit, whatever the length of its training samples
    limit = MAX_POSITIONS if cfg.no_token_positional_embeddings else cfg.tokens_per_sample
    limits = (cfg.max_target_positions, limit, DEFAULT_MAX_TARGET_POSITIONS)
    cfg.max_target_positions = first(*limits)
    return cfg, recurrent


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
