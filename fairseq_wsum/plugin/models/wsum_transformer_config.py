"""The options of `--arch wsum_transformer`: those of fairseq's `transformer`, and of the cells."""

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields, make_dataclass
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass
from fairseq.models.transformer import TransformerConfig
from omegaconf import II

from .fields import size
from .options import cell_option, first
from .recurrent_options import (
    RecurrentOptions,
    attention_layers_option,
    recurrent_layers,
    set_positions,
)

# fairseq needs `Optional[X]` here: see options.py
# ruff: noqa: UP045

_DECODER_SIZES = [f"decoder_{size}_dim" for size in ("embed", "ffn_embed", "input", "output")]
_POSITIONS = ("max_source_positions", "max_target_positions")


def _flat(config: type[FairseqDataclass], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The fields of fairseq's nested dataclass, named as the options of its command line."""
    for one in fields(config):
        name = prefix + one.name
        if one.name == "_name":
            continue
        if isinstance(one.type, type) and issubclass(one.type, FairseqDataclass):
            yield from _flat(one.type, f"{name}_")
        else:
            yield (name, *_type_and_field(name, one))


def _type_and_field(name: str, one: Field[Any]) -> tuple[Any, Any]:
    """The type that fairseq's command line uses for an option, and the field with its default."""
    kind, default, metadata = one.type, one.default, dict(one.metadata)
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

    encoder_cell: Optional[str] = cell_option(None, "cell of the encoder (default: --cell)")
    decoder_cell: Optional[str] = cell_option(None, "cell of the decoder (default: --cell)")
    encoder_hidden_size: Optional[int] = size(
        None,
        "hidden size of each direction of the encoder's recurrent layers (default: half of "
        "--encoder-embed-dim)",
    )
    encoder_attention_layers: Optional[str] = attention_layers_option("encoder")


def read_config(args: Any) -> TransformerConfig:
    """`WsumTransformerConfig.read`, and what depends on several options.

    Returns:
        fairseq's nested configuration, with `RecurrentLayers` as `encoder.recurrent` and as
        `decoder.recurrent`.

    Raises:
        ValueError: an option is invalid, or options are incompatible; the message names them.
    """
    cfg = WsumTransformerConfig.read(args)
    _resolve(cfg)
    if cfg.cross_self_attention:
        raise ValueError(
            "--cross-self-attention: a recurrent layer cannot read the source and the target "
            "together; omit this option, or use --arch transformer"
        )
    encoder = recurrent_layers(cfg, "encoder", max(cfg.encoder_embed_dim // 2, 1))
    decoder = recurrent_layers(cfg, "decoder", cfg.decoder_embed_dim)
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
    for name in _POSITIONS:
        setattr(cfg, name, first(getattr(cfg, name), getattr(TransformerConfig, name)))
