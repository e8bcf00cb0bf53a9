"""Ablated LSTMs for fairseq: the LSTM as a dynamically computed element-wise weighted sum.

The layer needs torch alone. Where fairseq is installed, importing this package (or naming its
folder with `--user-dir`) registers the architectures `wsum_lstm*`, the task and the criterion.
"""

import warnings
from importlib.util import find_spec

from .ablation import ABLATIONS, Ablation
from .layer import WsumLSTM

__version__ = "0.1.0"
__all__ = ["ABLATIONS", "Ablation", "WsumLSTM"]


def _register() -> None:
    """Register the architectures with fairseq, where there is one."""
    if find_spec("fairseq") is None:
        return
    try:
        import fairseq  # noqa: F401
    except Exception as error:  # a broken fairseq must not take the layer away
        warnings.warn(
            f"fairseq cannot be imported, so there is no --arch wsum_lstm: {error!r}. On Python "
            "3.11 and later, fairseq 0.12 comes from: pip install fairseq-fixed==0.12.3.1",
            stacklevel=2,
        )
        return
    from . import compat
    from .criterions import wsum_cross_entropy  # noqa: F401
    from .models import wsum_lstm, wsum_lstm_lm  # noqa: F401
    from .tasks import wsum_language_modeling  # noqa: F401

    compat.apply()


_register()
