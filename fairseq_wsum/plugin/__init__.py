"""The fairseq plugin: architectures, tasks, criterions, and compatibility shims for fairseq.

`fairseq_wsum` imports this module if fairseq has already been imported, as with `--user-dir`. Other
programs must import it explicitly.
"""

# ruff: noqa: F401  (the imports register what they name)
from . import compat
from .criterions import wsum_cross_entropy, wsum_parsing_loss, wsum_span_loss
from .decoding import beam_search
from .models import (
    wsum_biaffine_parser,
    wsum_bidaf,
    wsum_classifier,
    wsum_lstm,
    wsum_lstm_lm,
    wsum_transformer,
    wsum_transformer_lm,
)
from .tasks import wsum_dependency_parsing, wsum_language_modeling, wsum_span_prediction

compat.apply()
beam_search.apply()
