"""Modules shared by the models."""

from .attention import Projected as Projected
from .attention import make_attention as make_attention
from .bridge import Bridge as Bridge
from .dropout import Dropout as Dropout
from .dropout import use_dropout as use_dropout
from .self_attention import WsumSelfAttention as WsumSelfAttention
from .source_attention import SourceAttention as SourceAttention
from .states import CarriedState as CarriedState
