"""`WsumLSTM`, the layer."""

from .types import Pass as Pass
from .types import State as State
from .wsum_lstm import WsumLSTM as WsumLSTM
