"""Safe parsing of the options that fairseq passes to `eval`.

A checkpoint contains the options of its model. fairseq calls `eval` on some of them, so an
untrusted checkpoint could run arbitrary code when it is loaded. It does the same with the lines of
one kind of data file. These shims accept literals only.
"""

from __future__ import annotations

import ast
import sys
from typing import Any

DATA = "fairseq.data.codedataset"  # it evaluates the lines of a data file, which may be long
LONGEST = 10_000  # maximum number of characters of an option, and of items in its value


def apply() -> None:
    """Apply the shims of this file.

    fairseq has imported all modules of its models, tasks and optimizers by then.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("fairseq."):  # `setdefault` shadows the built-in, but no function there
            vars(module).setdefault("eval", ast.literal_eval if name == DATA else literal)


def literal(text: str) -> Any:
    """Evaluate a literal, or literals that are added and multiplied.

    This includes values such as "(0.9, 0.98)" and fairseq's own defaults, such as
    "[(512, 3)] * 20".

    Raises:
        ValueError: `text` is anything else, or too long.
        TypeError: `text` is not a string, as for Python's `eval`.
    """
    if not isinstance(text, str):
        raise TypeError(f"expected a string, got {type(text).__name__}")
    try:
        if len(text) > LONGEST:
            raise ValueError
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(
            f"the option {text[:LONGEST]!r} is not a literal of Python, such as (0.9, 0.98) or "
            "[(512, 3)] * 2, and is not evaluated, because it may come from an untrusted "
            "checkpoint. Give a literal; for a trained model that you trust, with --model-overrides"
        ) from None


def _value(node: ast.expr) -> Any:
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add | ast.Mult):
        return ast.literal_eval(node)
    left, right = _value(node.left), _value(node.right)
    if isinstance(node.op, ast.Add):
        return left + right
    items, times = (right, left) if isinstance(left, int) else (left, right)
    if hasattr(items, "__len__") and len(items) * times > LONGEST:
        raise ValueError
    return items * times
