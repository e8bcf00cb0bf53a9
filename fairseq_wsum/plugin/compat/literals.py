"""Safe parsing of the options that fairseq passes to `eval`.

A checkpoint contains the options of its model. fairseq calls `eval` on some of them, so an
untrusted checkpoint could run arbitrary code when it is loaded. It does the same with the lines of
one kind of data file. These shims accept literals only.
"""

from __future__ import annotations

import ast
import functools
import operator
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

from fairseq import models, optim

DATA = "fairseq.data.codedataset"  # it evaluates the lines of a data file, which may be long
LONGEST = 10_000  # maximum number of characters of an option, and of items in its value

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class NotALiteralError(ValueError):
    """The value of an evaluated option is neither a literal nor composed of literals."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is not a literal of Python, and is not evaluated")
        self.text = text


def apply() -> None:
    """Apply the shims of this file.

    fairseq has imported all modules of its models, tasks and optimizers by then.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("fairseq."):  # `setdefault` shadows the built-in, but no function there
            vars(module).setdefault("eval", ast.literal_eval if name == DATA else literal)
    _name_the_options()


def literal(text: str) -> Any:
    """Evaluate a literal, or an arithmetic expression of literals.

    This includes values such as "(0.9, 0.98)" and fairseq's own defaults, such as
    "[(512, 3)] * 20".

    Raises:
        NotALiteralError: `text` is anything else, or too long.
        TypeError: `text` is not a string, as for Python's `eval`.
    """
    if not isinstance(text, str):
        raise TypeError(f"expected a string, got {type(text).__name__}")
    try:
        if len(text) > LONGEST:
            raise ValueError
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (ValueError, TypeError, SyntaxError, ArithmeticError, MemoryError, RecursionError):
        raise NotALiteralError(text) from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Mult) and _items(left, right) > LONGEST:
            raise ValueError
        return _OPERATORS[type(node.op)](left, right)
    return ast.literal_eval(node)


def _items(left: Any, right: Any) -> int:
    """The number of items in a product; 1 for numbers."""
    if isinstance(left, int) and isinstance(right, int):
        return 1
    sizes = (
        n if isinstance(n, int) else len(n) if hasattr(n, "__len__") else 1 for n in (left, right)
    )
    first, second = sizes
    return first * second


def _name_the_options() -> None:
    """Name the option in the error for a value that is not a literal."""
    models.build_model = _naming(
        models.build_model,
        "an option of the model",
        "{names} is {text!r}: this is not a literal of Python, such as True or [(512, 3)] * 2, and "
        "is not evaluated, because it may come from an untrusted checkpoint. Give a literal; for a "
        "trained model that you trust, with --model-overrides",
    )
    optim.build_optimizer = _naming(
        optim.build_optimizer,
        "an option of the optimizer",
        "{names} {text!r}: give a literal of Python, such as (0.9, 0.98)",
    )


def _naming(build: Callable[..., Any], unknown: str, message: str) -> Callable[..., Any]:
    """`build`, whose first argument has the options, with an error that names the option.

    `unknown` stands for an option that is not among them.
    """

    @functools.wraps(build)
    def build_of_literals(cfg: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return build(cfg, *args, **kwargs)
        except NotALiteralError as error:
            names = " or ".join(_options_with(cfg, error.text)) or unknown
            raise ValueError(message.format(names=names, text=error.text)) from None

    return build_of_literals


def _options_with(cfg: Any, text: str) -> Iterator[str]:
    items = vars(cfg) if isinstance(cfg, Namespace) else cfg
    return (f"--{name.replace('_', '-')}" for name, value in items.items() if value == text)
