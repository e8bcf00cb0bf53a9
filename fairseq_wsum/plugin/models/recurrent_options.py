"""The options of Transformers with recurrent layers: what takes the place of self-attention."""

from dataclasses import dataclass, field
from typing import Any, Optional

from ...cells import Cell
from .options import CELL, CellOptions, described_cell, first, flag

# fairseq needs `Optional[X]` here: see options.py
# ruff: noqa: UP045


# of fairseq's option --no-token-positional-embeddings, which a subclass of its options redefines
NO_POSITIONS = {
    "help": "no positional embeddings (default; with attention in layer 0 give this option or "
    "--token-positional-embeddings)"
}


@dataclass(frozen=True)
class RecurrentLayers:
    """The recurrent layers of an encoder or a decoder, and those that keep self-attention instead.

    Attributes:
        side: `encoder` or `decoder`.
        layers: the number of all layers.
        attention_layers: the layers that keep self-attention, from 0.
        cell: the cell.
        hidden_size: the hidden size of each direction.
        backend: the backend of the layers.
    """

    side: str
    layers: int
    attention_layers: frozenset[int]
    cell: Cell
    hidden_size: int
    backend: str

    @property
    def directions(self) -> int:
        """The directions of a recurrent layer."""
        return 2 if self.side == "encoder" else 1

    @property
    def is_attention(self) -> bool:
        """Whether all layers keep self-attention."""
        return len(self.attention_layers) == self.layers


@dataclass
class RecurrentOptions(CellOptions):
    """The options for a decoder's recurrent layers, and for positions."""

    cell: str = field(default="no-srnn-hidden", metadata=CELL)
    decoder_hidden_size: Optional[int] = field(
        default=None,
        metadata={
            "help": "hidden size of the decoder's recurrent layers (default: --decoder-embed-dim)"
        },
    )
    decoder_attention_layers: Optional[str] = field(
        default=None,
        metadata={
            "help": "decoder layers that keep self-attention: numbers from 0, separated by commas, "
            "or all"
        },
    )
    token_positional_embeddings: bool = field(
        default=False,
        metadata={"help": "add positional embeddings, which recurrent layers do not need"},
    )


def recurrent_layers(cfg: Any, side: str, default_size: int) -> RecurrentLayers:
    """Read the options for the recurrent layers of one side, `encoder` or `decoder`.

    Raises:
        ValueError: an option is invalid; the message names it.
    """
    own_cell, own_size = (getattr(cfg, f"{side}_{name}", None) for name in ("cell", "hidden_size"))
    found = RecurrentLayers(
        side,
        layers=getattr(cfg, f"{side}_layers"),
        attention_layers=_attention_layers(cfg, side),
        cell=described_cell(cfg, first(own_cell, cfg.cell)),
        hidden_size=first(own_size, default_size),
        backend=cfg.lstm_backend,
    )
    for name, value in (("cell", own_cell), ("hidden_size", own_size)):
        if found.is_attention and value is not None:
            raise ValueError(
                f"{flag(f'{side}_{name}')} {value} has no effect, because all {side} layers keep "
                f"self-attention: omit it, or change {flag(f'{side}_attention_layers')}"
            )
    return found


def check_recurrent_layers(cfg: Any, *sides: RecurrentLayers) -> None:
    """Check the options of the cells and of quantisation for a model with these sides.

    Raises:
        ValueError: an option has no effect, or is not possible; the message names it.
    """
    for option, given in (("coupled_gates", cfg.coupled_gates), ("window", cfg.window)):
        if given and all(side.is_attention for side in sides):
            raise ValueError(
                f"{flag(option)} has no effect, because all layers keep self-attention: omit it"
            )
    if cfg.quant_noise_scalar > 0:  # fairseq knows its own modules only
        raise ValueError(
            f"--quant-noise-scalar {cfg.quant_noise_scalar}: fairseq cannot quantise the matrices "
            "of a recurrent layer; omit this option, or use fairseq's own Transformer"
        )
    block = cfg.quant_noise_pq_block_size
    for side in sides:
        features = side.directions * side.hidden_size
        if cfg.quant_noise_pq > 0 and not side.is_attention and features % block:
            raise ValueError(
                f"--quant-noise-pq-block-size {block} does not divide {features}, the size of the "
                f"output of the {side.side}'s recurrent layers: give a divisor, or another "
                f"{flag(f'{side.side}_hidden_size')}"
            )


def check_heads(cfg: Any, side: str) -> None:
    """Check that the attention heads of a side, `encoder` or `decoder`, divide its width.

    Raises:
        ValueError: they do not.
    """
    width, heads = f"{side}_embed_dim", f"{side}_attention_heads"
    if getattr(cfg, width) % getattr(cfg, heads):
        raise ValueError(
            f"{flag(heads)} {getattr(cfg, heads)} does not divide {flag(width)} "
            f"{getattr(cfg, width)}: give a divisor"
        )


def set_positions(cfg: Any, *sides: RecurrentLayers) -> None:
    """Decide whether there are positional embeddings: set `no_token_positional_embeddings`.

    Raises:
        ValueError: the options contradict each other, or one of them is needed to decide.
    """
    wanted, unwanted = cfg.token_positional_embeddings, cfg.no_token_positional_embeddings
    if wanted and unwanted:
        raise ValueError(
            "--token-positional-embeddings and --no-token-positional-embeddings: give one of them"
        )
    if not (wanted or unwanted) and any(0 in side.attention_layers for side in sides):
        raise ValueError(
            "attention in layer 0 cannot see the order of the words without positions: give "
            "--token-positional-embeddings (or --no-token-positional-embeddings, if you want a "
            "model without)"
        )
    learned = [o for o in ("encoder_learned_pos", "decoder_learned_pos") if getattr(cfg, o, False)]
    if learned and not wanted:
        raise ValueError(
            f"{flag(learned[0])} has no effect, because a model of recurrent layers has no "
            "positional embeddings by default: give --token-positional-embeddings, too, or omit it"
        )
    cfg.no_token_positional_embeddings = not wanted


def _attention_layers(cfg: Any, side: str) -> frozenset[int]:
    """The layers of a side that keep self-attention."""
    option, layers = f"{side}_attention_layers", range(getattr(cfg, f"{side}_layers"))
    given = getattr(cfg, option)
    given = "none" if given in (None, "") else str(given).strip()  # 0 is a layer
    if given in ("none", "all"):
        return frozenset(layers if given == "all" else ())
    kept = f"{side}_layers_to_keep"
    if getattr(cfg, kept):
        raise ValueError(
            f"{flag(kept)} changes the numbers of the layers, so it cannot be used with "
            f"{flag(option)} {given}"
        )
    try:
        chosen = frozenset(int(number) for number in given.split(","))
    except ValueError:
        chosen = frozenset([-1])
    if not chosen <= set(layers):
        raise ValueError(
            f"{flag(option)} {given}: give numbers from 0 to {len(layers) - 1}, separated by "
            f"commas, or all ({flag(f'{side}_layers')} is {len(layers)})"
        )
    return chosen
