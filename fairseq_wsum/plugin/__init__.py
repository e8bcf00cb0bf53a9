"""What fairseq gets from this package: architectures, a task, a criterion, and shims of its own.

`fairseq_wsum` imports this where fairseq is imported already, as with `--user-dir`. In a program of
your own, import it yourself.
"""

from . import compat
from .criterions import wsum_cross_entropy
from .models import wsum_lstm, wsum_lstm_lm
from .tasks import wsum_language_modeling

compat.apply()

__all__ = ["wsum_cross_entropy", "wsum_language_modeling", "wsum_lstm", "wsum_lstm_lm"]
