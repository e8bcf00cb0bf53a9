"""Modules shared by the models. They depend on torch only."""

from .attention import ATTENTION_TYPES, Attention
from .bridge import Bridge
from .carried_state import CarriedState

__all__ = ["ATTENTION_TYPES", "Attention", "Bridge", "CarriedState"]
