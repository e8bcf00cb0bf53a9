"""Shims that let fairseq 0.12 run on current torch and numpy, and that fix bugs in fairseq.

Each shim documents what fails without it, and where in fairseq. The shims change nothing but
fairseq, except for torch's list of safe globals. `fairseq_wsum.plugin` applies them.
"""

import functools

from . import averages, checkpoints, literals, optimizers, options, resuming, searching, versions


@functools.cache  # once
def apply() -> None:
    """Apply all shims."""
    modules = (versions, options, literals, checkpoints, averages, optimizers, resuming, searching)
    for module in modules:
        module.apply()
