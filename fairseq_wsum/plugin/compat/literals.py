"""Safe parsing of the options that fairseq passes to `eval`.

A checkpoint contains the options of its model. fairseq calls `eval` on some of them, so an
untrusted checkpoint could run arbitrary code when it is loaded. It does the same with the lines of
one kind of data file. This shim accepts literals only.
"""

from __future__ import annotations

import ast
import sys
from typing import Any


def apply() -> None:
    """Shadow `eval` in all of fairseq's modules, which have been imported by then."""
    for name, module in list(sys.modules.items()):
        if name.startswith("fairseq."):
            vars(module).setdefault("eval", literal)


def literal(text: str) -> Any:
    """Evaluate a literal, or literals that are added and multiplied, such as "[(512, 3)] * 20".

    Raises:
        ValueError, SyntaxError: `text` is anything else.
        TypeError: `text` is not a string, as for Python's `eval`.
    """
    if not isinstance(text, str):
        raise TypeError(f"expected a string, got {type(text).__name__}")
    return _value(ast.parse(text.strip(), mode="eval").body)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mult):
        left, right = _value(node.left), _value(node.right)
        return left + right if isinstance(node.op, ast.Add) else left * right
    return ast.literal_eval(node)
