"""The options of `--arch wsum_transformer`: those of fairseq's `transformer`, and of the cells."""

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields, make_dataclass
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass
from fairseq.models.transformer import TransformerConfig
from omegaconf import II

from .checks import check_cells, check_criterion, check_probabilities, check_sharing, check_sizes
from .options import first, flag, option_values
from .recurrent_options import (
    NO_POSITIONS,
    RecurrentOptions,
    check_heads,
    check_recurrent_layers,
    recurrent_layers,
    set_positions,
)

# fairseq needs `Optional[X]` here: see options.py
# ruff: noqa: UP045

_DECODER_SIZES = [f"decoder_{size}_dim" for size in ("embed", "ffn_embed", "input", "output")]
_POSITIONS = ("max_source_positions", "max_target_positions")


def _flat(config: type[FairseqDataclass], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The fields of fairseq's nested dataclass, named as the options of its command line."""
    for option in fields(config):
        name = prefix + option.name
        if option.name == "_name":
            continue
        if isinstance(option.type, type) and issubclass(option.type, FairseqDataclass):
            yield from _flat(option.type, f"{name}_")
        else:
            yield (name, *_type_and_field(name, option))


def _type_and_field(name: str, option: Field[Any]) -> tuple[Any, Any]:
    """The type that fairseq's command line uses for an option, and the field with its default."""
    kind, default, metadata = option.type, option.default, dict(option.metadata)
    if name.endswith("layers_to_keep"):
        kind = Optional[str]  # fairseq declares a list, and splits the value at commas
    elif name in _POSITIONS:
        # no option, which one with a help text would be: the task has it, if it has a limit
        kind, default, metadata = Optional[int], II(f"oc.select:task.{name},null"), {}
    elif name in _DECODER_SIZES:
        kind, default = Optional[int], None  # see `_resolve`
    return kind, field(default=default, metadata=metadata)


# fairseq's own dataclass is nested, but `register_model` needs a flat one
_TransformerOptions: Any = make_dataclass(
    "_TransformerOptions", list(_flat(TransformerConfig)), bases=(FairseqDataclass,)
)


@dataclass
class WsumTransformerConfig(_TransformerOptions, RecurrentOptions):
    """The options. The defaults are those of fairseq's `transformer`, but without positions."""

    encoder_cell: Optional[str] = field(
        default=None, metadata={"help": "cell of the encoder (default: --cell)"}
    )
    decoder_cell: Optional[str] = field(
        default=None, metadata={"help": "cell of the decoder (default: --cell)"}
    )
    encoder_hidden_size: Optional[int] = field(
        default=None,
        metadata={
            "help": "hidden size of each direction of the encoder's recurrent layers (default: "
            "half of --encoder-embed-dim)"
        },
    )
    encoder_attention_layers: Optional[str] = field(
        default=None,
        metadata={
            "help": "encoder layers that keep self-attention: numbers from 0, separated by commas, "
            "or all"
        },
    )
    no_token_positional_embeddings: bool = field(default=False, metadata=NO_POSITIONS)


def read_config(args: Any) -> TransformerConfig:
    """Read and check the configuration that fairseq passes to `build_model`.

    Args:
        args: a `WsumTransformerConfig`, its `DictConfig`, or a `Namespace` that may lack options.

    Returns:
        fairseq's nested configuration, with `RecurrentLayers` as `encoder.recurrent` and as
        `decoder.recurrent`.

    Raises:
        ValueError: an option is invalid, or options are incompatible; the message names them.
    """
    cfg = WsumTransformerConfig(**option_values(WsumTransformerConfig, args))
    _resolve(cfg)
    sizes = ("embed_dim", "ffn_embed_dim", "hidden_size", "layers", "attention_heads")
    check_cells(cfg, cell_options=("encoder_cell", "decoder_cell"))
    check_sizes(cfg, [f"{side}_{size}" for side in ("encoder", "decoder") for size in sizes])
    check_probabilities(cfg)
    check_criterion(cfg)
    if cfg.cross_self_attention:
        raise ValueError(
            "--cross-self-attention: a recurrent layer cannot read the source and the target "
            "together; omit this option, or use --arch transformer"
        )
    _check_embeddings(cfg)
    encoder = recurrent_layers(cfg, "encoder", max(cfg.encoder_embed_dim // 2, 1))
    decoder = recurrent_layers(cfg, "decoder", cfg.decoder_embed_dim)
    check_recurrent_layers(cfg, encoder, decoder)
    if encoder.attention_layers:
        check_heads(cfg, "encoder")
    if decoder.attention_layers or not cfg.no_cross_attention:
        check_heads(cfg, "decoder")
    set_positions(cfg, encoder, decoder)
    nested = TransformerConfig.from_namespace(Namespace(**vars(cfg)))
    nested.encoder.recurrent, nested.decoder.recurrent = encoder, decoder
    return nested


def _resolve(cfg: Any) -> None:
    """Set the options whose default is another option's value, as fairseq's `transformer` does."""
    cfg.decoder_embed_dim = first(cfg.decoder_embed_dim, cfg.encoder_embed_dim)
    cfg.decoder_ffn_embed_dim = first(cfg.decoder_ffn_embed_dim, cfg.encoder_ffn_embed_dim)
    cfg.decoder_input_dim = first(cfg.decoder_input_dim, cfg.decoder_embed_dim)
    cfg.decoder_output_dim = first(cfg.decoder_output_dim, cfg.decoder_embed_dim)
    for option in _POSITIONS:
        setattr(cfg, option, first(getattr(cfg, option), getattr(TransformerConfig, option)))


def _check_embeddings(cfg: Any) -> None:
    """Check what fairseq's `transformer` ignores, or notices in the first batch only.

    Raises:
        ValueError: options are incompatible; the message names them.
    """
    if cfg.merge_src_tgt_embed:
        for option in ("encoder_embed_path", "decoder_embed_path"):
            if getattr(cfg, option):
                raise ValueError(
                    f"{flag(option)} has no effect with --merge-src-tgt-embed: omit one of them"
                )
        check_sharing(
            encoder_embed_dim=cfg.encoder_embed_dim, decoder_output_dim=cfg.decoder_output_dim
        )
    if cfg.share_decoder_input_output_embed or cfg.share_all_embeddings:
        check_sharing(
            decoder_embed_dim=cfg.decoder_embed_dim, decoder_output_dim=cfg.decoder_output_dim
        )
    if cfg.tie_adaptive_weights:
        raise ValueError(
            "--tie-adaptive-weights needs an adaptive input, which translation models do not have: "
            "omit this option"
        )
