"""`WsumLSTM`, the layer."""

from .wsum_lstm import Pass as Pass
from .wsum_lstm import State as State
from .wsum_lstm import WsumLSTM as WsumLSTM
