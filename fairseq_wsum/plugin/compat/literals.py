"""Options that fairseq evaluates as Python, read as literals instead.

A checkpoint holds the options of its model. fairseq calls `eval` on some of them, so that a
stranger's checkpoint could run any program when it is loaded.
"""

from __future__ import annotations

import ast
import functools
import operator
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any

from fairseq import models

# The modules of fairseq that evaluate an option (and not only one of the command line).
EVALUATING = (
    "fairseq.criterions.ctc",
    "fairseq.data.audio.raw_audio_dataset",
    "fairseq.models.fconv",
    "fairseq.models.fconv_lm",
    "fairseq.models.fconv_self_att",
    "fairseq.models.hubert.hubert",
    "fairseq.models.lightconv_lm",
    "fairseq.models.speech_to_text.s2t_wav_transformer",
    "fairseq.models.transformer_lm",
    "fairseq.models.wav2vec.wav2vec",
    "fairseq.models.wav2vec.wav2vec2",
    "fairseq.optim.adafactor",
    "fairseq.optim.adam",
    "fairseq.optim.adamax",
    "fairseq.optim.cpu_adam",
    "fairseq.optim.fused_lamb",
    "fairseq.utils",
)
LONGEST = 10_000  # characters of an option, and items of a list that it makes

_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class NotALiteralError(ValueError):
    """An option that is to be evaluated is neither a literal nor made of literals."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is not a literal of Python, and is not evaluated")
        self.text = text


def apply() -> None:
    """Apply the shims of this file."""
    for name in EVALUATING:
        if name in sys.modules:
            vars(sys.modules[name])["eval"] = literal  # found before Python's own
    _name_the_option()


def literal(text: str) -> Any:
    """The value of a literal; numbers and lists may be added, and multiplied.

    So "(0.9, 0.98)" and fairseq's own defaults, such as "[(512, 3)] * 20", are read as ever.

    Raises:
        NotALiteralError: it is anything else, or too long.
        TypeError: it is no string, as with Python's own `eval`.
    """
    if not isinstance(text, str):
        raise TypeError(f"a string is wanted, got {type(text).__name__}")
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
    """How many items a product has: 1 for numbers."""
    if isinstance(left, int) and isinstance(right, int):
        return 1
    sizes = (
        n if isinstance(n, int) else len(n) if hasattr(n, "__len__") else 1 for n in (left, right)
    )
    first, second = sizes
    return first * second


def _name_the_option() -> None:
    """Where an option of a model is not a literal, the error names it."""
    build_model = models.build_model

    @functools.wraps(build_model)
    def build_model_of_literals(cfg: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return build_model(cfg, *args, **kwargs)
        except NotALiteralError as error:
            names = " or ".join(_options_with(cfg, error.text)) or "an option of the model"
            raise ValueError(
                f"{names} is {error.text!r}: this is not a literal of Python, such as True or "
                "[(512, 3)] * 2, and it is not evaluated, as it may come from a stranger's "
                "checkpoint. If you trust the file, give the option by --model-overrides"
            ) from None

    models.build_model = build_model_of_literals


def _options_with(cfg: Any, text: str) -> Iterator[str]:
    items = vars(cfg) if isinstance(cfg, Namespace) else cfg
    return (f"--{name.replace('_', '-')}" for name, value in items.items() if value == text)
