"""Modules shared by the models."""

from .attention import ATTENTION_TYPES, Attention, Projected
from .blocks import LSTMBlocks
from .bridge import Bridge
from .carried_state import CarriedState
from .dropout import Dropout, DropoutBase, use_dropout
from .self_attention import WsumSelfAttention

__all__ = [
    "ATTENTION_TYPES",
    "Attention",
    "Bridge",
    "CarriedState",
    "Dropout",
    "DropoutBase",
    "LSTMBlocks",
    "Projected",
    "WsumSelfAttention",
    "use_dropout",
]
