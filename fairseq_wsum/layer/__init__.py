"""`WsumLSTM`, the layer."""

from .wsum_lstm import State as State
from .wsum_lstm import WsumLSTM as WsumLSTM
from .wsum_lstm import unstack as unstack
