"""What fairseq 0.12 needs, to run on current torch and numpy and to keep what users trust it with.

Each shim says what fails without it, and where in fairseq. They change fairseq, and nothing else;
`fairseq_wsum.plugin` applies them.
"""

import functools

from . import checkpoints, decoding, literals, optimizers, options, resuming, versions


@functools.cache  # once
def apply() -> None:
    """Apply all shims."""
    for module in (versions, options, decoding, literals, checkpoints, optimizers, resuming):
        module.apply()
