"""Fields of the dataclasses of options: default, help text and limits in one declaration.

fairseq makes a command-line option of each field with a help text.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any

LIMITS = "limits"  # a key of the metadata of a field that fairseq ignores


@dataclass(frozen=True)
class Limits:
    """The values that an option may have.

    Attributes:
        at_least, at_most: bounds of a number.
        one_of: returns the values of a name; more of them may be registered later.
        any_case: whether a name may be in upper case, as fairseq's BOOL may be.
        cure: the end of the message about another value.
    """

    at_least: float | None = None
    at_most: float | None = None
    one_of: Callable[[], Iterable[str]] | None = None
    any_case: bool = False
    cure: str = ""

    def cure_for(self, value: Any) -> str | None:
        """What to give in place of a value, or None if it is within the limits."""
        if self.one_of is not None:
            names, name = [*self.one_of()], str(value)
            within = (name.lower() if self.any_case else name) in names
            advice = f"choose one of {', '.join(names)}"
        else:
            low, high = self.at_least, self.at_most
            within = (low is None or value >= low) and (high is None or value <= high)  # not NaN
            advice = f"give at least {low}" + ("" if high is None else f" and at most {high}")
        return None if within else advice + self.cure


def option(default: Any, help: str, **limits: Any) -> Any:
    """An option; `limits` are the attributes of its `Limits`."""
    metadata = {"help": help, **({LIMITS: Limits(**limits)} if limits else {})}
    return field(default=default, metadata=metadata)


def size(default: int | None, help: str) -> Any:
    """An option that is a number of units, layers or heads."""
    return option(default, help, at_least=1)


def probability(default: float | None, help: str) -> Any:
    """An option that is a probability."""
    return option(default, help, at_least=0, at_most=1)


def check_limits(config: type, values: Any) -> None:
    """Check the options of a dataclass; None counts as not given.

    Args:
        config: the dataclass.
        values: an object with the options as its attributes.

    Raises:
        ValueError: an option is outside its limits.
    """
    for one in fields(config):
        limits, value = one.metadata.get(LIMITS), getattr(values, one.name, None)
        if limits is not None and value is not None and (cure := limits.cure_for(value)):
            raise ValueError(f"{flag(one.name)} {value}: {cure}")


def flag(option: str) -> str:
    """The option as written on the command line."""
    return "--" + option.replace("_", "-")
