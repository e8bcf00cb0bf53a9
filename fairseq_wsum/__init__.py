"""Ablated LSTMs for fairseq: the LSTM as a dynamically computed element-wise weighted sum.

The layer needs torch alone, and importing it imports no fairseq. Within fairseq, where `--user-dir`
names this package's folder, or after `import fairseq_wsum.plugin`, the architectures `wsum_lstm*`,
the task and the criterion are registered.
"""

import sys

from .cells import CELLS, Cell, register_cell
from .layer import WsumLSTM

__version__ = "0.1.0"
__all__ = ["CELLS", "Cell", "WsumLSTM", "register_cell"]

if "fairseq" in sys.modules:
    from . import plugin  # noqa: F401
