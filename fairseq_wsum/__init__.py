"""Ablated LSTMs for fairseq: the LSTM as a dynamically computed element-wise weighted sum.

The layer depends on torch only and does not import fairseq. The models, tasks and criterions are
registered by `import fairseq_wsum.plugin`, or by fairseq's option `--user-dir` with the folder of
this package.
"""

import sys

from .cells import CELLS, Cell, register_cell
from .layer import WsumLSTM

__version__ = "0.1.0"
__all__ = ["CELLS", "Cell", "WsumLSTM", "register_cell"]

if "fairseq" in sys.modules:
    from . import plugin  # noqa: F401
