"""A fix for an option that fairseq misinterprets."""

from __future__ import annotations

import functools
import sys
from typing import Any

from fairseq import options


def apply() -> None:
    """Make --bf16 work without a TPU: fairseq's --bf16 implies --tpu (options.py)."""
    parse = options.parse_args_and_arch

    @functools.wraps(parse)
    def parse_args_and_arch(parser: Any, input_args: Any = None, *args: Any, **kwargs: Any) -> Any:
        parsed = parse(parser, input_args, *args, **kwargs)
        namespace = parsed[0] if isinstance(parsed, tuple) else parsed
        asked = "--tpu" in (sys.argv if input_args is None else input_args)
        if getattr(namespace, "bf16", False) and not asked:
            namespace.tpu = False
        return parsed

    options.parse_args_and_arch = parse_args_and_arch
