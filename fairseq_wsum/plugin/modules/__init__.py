"""Parts that the models share. They need torch alone."""

from .attention import ATTENTION_TYPES, Attention
from .bridge import Bridge
from .carried_state import CarriedState

__all__ = ["ATTENTION_TYPES", "Attention", "Bridge", "CarriedState"]
