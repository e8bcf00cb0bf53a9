"""Ablated LSTMs for fairseq: the LSTM as a dynamically computed element-wise weighted sum.

The layer needs torch alone. Where fairseq is installed, importing this package (or naming its
folder with `--user-dir`) registers the architectures `wsum_lstm*`.
"""

from importlib.util import find_spec as _find_spec

from .ablation import ABLATIONS, Ablation
from .layer import WsumLSTM

__version__ = "0.1.0"
__all__ = ["ABLATIONS", "Ablation", "WsumLSTM"]

if _find_spec("fairseq") is not None:
    from . import compat as _compat
    from .models import wsum_lstm as _wsum_lstm  # noqa: F401

    _compat.apply()
