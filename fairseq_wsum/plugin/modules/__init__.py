"""Modules shared by the models."""

from .attention import Attention, Projected, make_attention
from .blocks import LSTMBlocks
from .bridge import Bridge
from .dropout import Dropout, DropoutBase, use_dropout
from .self_attention import WsumSelfAttention
from .source_attention import SourceAttention
from .states import CarriedState

__all__ = [
    "Attention",
    "Bridge",
    "CarriedState",
    "Dropout",
    "DropoutBase",
    "LSTMBlocks",
    "Projected",
    "SourceAttention",
    "WsumSelfAttention",
    "make_attention",
    "use_dropout",
]
