"""Domains of hyperparameters: ranges on a scale, choices, and their text on the command line.

learning_rate=1e-4:1e-1:log    a range, here on a logarithmic scale
batch_size=32,64,128           a choice
optimizer=adam                 fixed
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from kcnn.errors import InputError

Scale = Literal["linear", "log", "log1m"]


@dataclass(frozen=True)
class Range:
    """All numbers from `low` to `high`, both included; whole ones where both are.

    Args:
        low: Smallest value.
        high: Largest value.
        scale: Values are spread evenly over the numbers (linear), over their logarithm (log), or
            over the logarithm of their distance from 1 (log1m), which suits a momentum m: it
            averages over about 1 / (1 - m) steps.

    Raises:
        InputError: An empty range, or one that its scale does not have.
    """

    low: float
    high: float
    scale: Scale = "linear"

    def __post_init__(self) -> None:
        numbers = [v for v in (self.low, self.high) if type(v) in (int, float)]
        if len(numbers) < 2 or not all(map(math.isfinite, numbers)) or self.low >= self.high:
            raise InputError(
                f"A range goes from a smaller number to a larger one; received {self.low!r} to "
                f"{self.high!r}. A single value is fixed: NAME=VALUE."
            )
        if self.scale not in get_args(Scale):
            raise InputError(
                f"The scale of a range is one of {', '.join(get_args(Scale))}; received "
                f"{self.scale!r}."
            )
        if (self.scale == "log" and self.low <= 0) or (self.scale == "log1m" and self.high >= 1):
            needed = "numbers above 0" if self.scale == "log" else "numbers below 1"
            raise InputError(
                f"A {self.scale} scale is for {needed}; received {self.low} to {self.high}. Use "
                f"another bound, or linear."
            )

    @property
    def whole(self) -> bool:
        """Whether it is one of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def position(self, value: float) -> float:
        """Where `value` lies on the scale: 0 at `low`, 1 at `high`."""
        low, high, at = (_on_scale(self.scale, v) for v in (self.low, self.high, value))
        return (at - low) / (high - low)

    def rounded(self, value: float) -> float:
        """`value` to four digits that count on the scale, and within the range."""
        if self.whole:
            return round(value)
        shown = 1 - float(f"{1 - value:.4g}") if self.scale == "log1m" else float(f"{value:.4g}")
        return min(max(float(f"{shown:.12g}"), self.low), self.high)

    def __str__(self) -> str:
        return f"{self.low!r}:{self.high!r}" + (f":{self.scale}" if self.scale != "linear" else "")


@dataclass(frozen=True)
class Choice:
    """One of several values: numbers, text, true or false, tuples, or None (the default).

    Raises:
        InputError: Fewer than two values, or one of them twice.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(_plain(v) for v in self.values))
        texts = [repr(v) for v in self.values]
        if len(texts) < 2 or len(set(texts)) < len(texts):
            raise InputError(
                f"A choice is between two or more different values; received "
                f"{', '.join(texts) or 'none'}. A single value is fixed: NAME=VALUE."
            )

    def position(self, value: Any) -> float:
        """The number of `value` among the values."""
        return float(self.values.index(_plain(value)))

    def __str__(self) -> str:
        return ",".join(value_text(v) for v in self.values)


#: A row of a search space: what is searched, or else a fixed value.
Domain = Range | Choice | Any


def searched(domain: Domain) -> bool:
    """Whether there is something to search."""
    return isinstance(domain, (Range, Choice))


def value_text(value: Any) -> str:
    """A value as the command line has it."""
    if isinstance(value, tuple):
        return f"({','.join(map(value_text, value))}{',' * (len(value) == 1)})"
    if value is None:
        return "default"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def parse(text: str, before: Domain = None) -> Domain:
    """The domain that the text names.

    Args:
        text: LOW:HIGH, LOW:HIGH:SCALE, A,B,C or VALUE.
        before: What it overrides: a range that names no scale keeps that of another one.

    Raises:
        InputError: It is none of these.
    """
    if ":" in text and "=" not in text:  # crop+randaugment=2:9 is no range
        low, high, *rest = (part.strip() for part in text.split(":"))
        scale = rest[0] if rest else before.scale if isinstance(before, Range) else "linear"
        if len(rest) > 1:
            raise InputError(f"A range is LOW:HIGH or LOW:HIGH:SCALE; received {text!r}.")
        return Range(_value(low), _value(high), cast(Scale, scale))  # Range checks it
    parts = _split(text)
    return Choice(tuple(map(_value, parts))) if len(parts) > 1 else _value(text)


def _split(text: str) -> list[str]:
    """At its commas, but not at those within brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "default": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return _plain(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        if not text:
            raise InputError("A value is missing: received an empty text.") from None
        return text


def _plain(value: Any) -> Any:
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _on_scale(scale: Scale, value: float) -> float:
    if scale == "log":
        return math.log(value)
    return -math.log(1 - value) if scale == "log1m" else value
