"""The options of Transformers with recurrent layers: what takes the place of self-attention."""

from dataclasses import dataclass
from typing import Any, Optional

from ...cells import Cell
from .fields import flag, option, size
from .options import CELL_HELP, CellOptions, cell_option, described_cell, first

# fairseq needs `Optional[X]` here: see options.py
# ruff: noqa: UP045


@dataclass(frozen=True)
class RecurrentLayers:
    """The recurrent layers of an encoder or a decoder, and those that keep self-attention instead.

    Attributes:
        bidirectional: whether a layer has two directions, as in an encoder.
        layers: the number of all layers, less those that `--encoder-layers-to-keep` leaves out.
        attention_layers: those of them that keep self-attention, from 0.
        cell: the cell.
        hidden_size: the hidden size of each direction.
        backend: the backend of the layers.
    """

    bidirectional: bool
    layers: int
    attention_layers: frozenset[int]
    cell: Cell
    hidden_size: int
    backend: str


def attention_layers_option(side: str) -> Any:
    """The option for the layers of a side that keep self-attention."""
    return option(
        None,
        f"{side} layers that keep self-attention: numbers from 0, separated by commas, or all",
    )


@dataclass
class RecurrentOptions(CellOptions):
    """The options for a decoder's recurrent layers, and for positions."""

    cell: str = cell_option("no-srnn-hidden", CELL_HELP)
    decoder_hidden_size: Optional[int] = size(
        None, "hidden size of the decoder's recurrent layers (default: --decoder-embed-dim)"
    )
    decoder_attention_layers: Optional[str] = attention_layers_option("decoder")
    token_positional_embeddings: bool = option(
        False,
        "add positional embeddings (default: if attention in layer 0 needs them, or with learned "
        "positions, unless --no-token-positional-embeddings)",
    )


def recurrent_layers(cfg: Any, side: str, default_size: int) -> RecurrentLayers:
    """Read the options for the recurrent layers of one side, `encoder` or `decoder`.

    Raises:
        ValueError: an option is invalid; the message names it.
    """
    if getattr(cfg, "quant_noise_scalar", 0):
        raise ValueError(
            "--quant-noise-scalar: fairseq cannot quantise recurrent layers; omit it, or use "
            "--quant-noise-pq"
        )
    attention = _attention_layers(cfg, side)
    given = getattr(cfg, f"{side}_layers_to_keep")
    every = range(getattr(cfg, f"{side}_layers"))
    kept = every if given in (None, "") else sorted(map(int, str(given).split(",")))
    return RecurrentLayers(
        bidirectional=side == "encoder",
        layers=len(kept),
        attention_layers=frozenset(k for k, number in enumerate(kept) if number in attention),
        cell=described_cell(cfg, first(getattr(cfg, f"{side}_cell", None), cfg.cell)),
        hidden_size=first(getattr(cfg, f"{side}_hidden_size"), default_size),
        backend=cfg.lstm_backend,
    )


def set_positions(cfg: Any, *sides: RecurrentLayers) -> None:
    """Decide whether there are positional embeddings: set `no_token_positional_embeddings`.

    Without them, attention in layer 0 could not see the order of the words.
    """
    learned = cfg.decoder_learned_pos or getattr(cfg, "encoder_learned_pos", False)
    needed = learned or any(0 in side.attention_layers for side in sides)
    cfg.no_token_positional_embeddings |= not (cfg.token_positional_embeddings or needed)


def _attention_layers(cfg: Any, side: str) -> frozenset[int]:
    """The layers of a side that keep self-attention."""
    name, layers = f"{side}_attention_layers", range(getattr(cfg, f"{side}_layers"))
    given = getattr(cfg, name)
    if given in (None, ""):  # 0 is a layer
        return frozenset()
    if given == "all":
        return frozenset(layers)
    try:
        chosen = frozenset(int(number) for number in str(given).split(","))
    except ValueError:
        chosen = frozenset([-1])
    if not chosen <= set(layers):
        raise ValueError(
            f"{flag(name)} {given}: give numbers from 0 to {len(layers) - 1}, separated by "
            f"commas, or all ({flag(f'{side}_layers')} is {len(layers)})"
        )
    return chosen
