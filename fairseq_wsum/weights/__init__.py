"""The weights of the weighted sum: as data, as pictures, as a page to explore, as tables.

`trace` and the functions of `weighted_sum` need torch only.
"""

from .trace import Trace as Trace
from .trace import from_pass as from_pass
from .trace import trace as trace
from .weighted_sum import half_lives as half_lives
from .weighted_sum import initial_shares as initial_shares
from .weighted_sum import lifetimes as lifetimes
from .weighted_sum import norms as norms
from .weighted_sum import rebuild as rebuild
from .weighted_sum import reconstruction_error as reconstruction_error
from .weighted_sum import weights as weights
