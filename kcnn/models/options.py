"""Options of networks: the table of names, types and ranges, read off a builder's signature.

A parameter's annotation says what it takes: `int`, `float`, `bool`, `str`, a `Literal`, a tuple of
whole numbers, one of the kinds below, or any of these `| None`. Without an annotation, the default
says so. The command line, `build`, `show`, tuning and `recipe.json` all check against this table;
nothing else parses an option.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from kcnn.errors import InputError
from kcnn.recipes.checks import Check, between, choice, switch, text, whole


def _activation(name: str, value: Any) -> Any:
    from kcnn.startup import keras

    try:
        if not isinstance(value, str) and not callable(value):
            raise ValueError
        keras.activations.get(value)
    except ValueError:
        raise InputError(
            f"{name} is an activation of Keras, such as 'relu', 'tanh', 'sigmoid' or 'softmax', or "
            f"None; received {value!r}."
        ) from None
    return value


def wholes(low: int, example: str) -> Check:
    """A tuple of whole numbers from `low` up."""

    def check(name: str, value: Any) -> tuple[int, ...]:
        try:
            if isinstance(value, (str, Mapping)):
                raise TypeError
            return tuple(whole(low)(name, number) for number in value)
        except (TypeError, InputError):
            raise InputError(
                f"{name} are whole numbers from {low} up, separated by commas, such as {example}; "
                f"received {value!r}."
            ) from None

    return check


# The kinds of options that Python's own types do not tell apart.
Count = Annotated[int, whole(1)]
Pixels = Annotated[int, whole(0)]
Rate = Annotated[float, between(0, 1, "a rate from 0 up to, not including, 1")]
Activation = Annotated[str, _activation]
Counts = Annotated[tuple[int, ...], wholes(1, "64,128")]  # of at least one stage
Widths = Annotated[tuple[int, ...], wholes(1, "4096,4096 or 512,")]  # of layers that may be none
Stem = Literal["auto", "imagenet", "cifar"]

#: What the end of every classifier takes, whatever its family (`kcnn.models.layers.classifier`).
_TOP: Mapping[str, Any] = {
    "classes": Count,
    "include_top": bool,
    "pooling": Literal["avg", "max"] | None,
    "classifier_activation": Activation | None,
}
TOP_OPTIONS = tuple(_TOP)

#: Parameters of a builder that are no options.
_NOT_OPTIONS = ("input_shape", "preprocessing")


@dataclass(frozen=True)
class Option:
    """What an option takes."""

    check: Check
    optional: bool  #: None is one of its values

    def value(self, name: str, given: Any) -> Any:
        """The value as the builder takes it.

        Raises:
            InputError: It is none; with name, type and range.
        """
        if given is None and self.optional:
            return None
        return self.check(name, given)


@cache
def table(builder: Callable[..., Any]) -> Mapping[str, Option]:
    """The options of a builder by name."""
    found: dict[str, Option] = {}
    for name, parameter in inspect.signature(builder).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            found |= {top: _option(kind, None) for top, kind in _TOP.items()}
        elif name not in _NOT_OPTIONS:
            kind = _evaluated(parameter.annotation, builder)
            found[name] = _option(kind, parameter.default)
    return found


def _evaluated(annotation: Any, builder: Callable[..., Any]) -> Any:
    """An annotation that was left as text, as the object that it names; Any where that fails."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, inspect.unwrap(builder).__globals__)
    except Exception:  # names that are there for type checkers alone, say
        return Any


def _option(kind: Any, default: Any) -> Option:
    optional = default is None
    if get_origin(kind) in (Union, types.UnionType):
        rest = [one for one in get_args(kind) if one is not type(None)]
        optional = optional or len(rest) < len(get_args(kind))
        kind = rest[0] if len(rest) == 1 else Any
    if kind in (Any, inspect.Parameter.empty) and default not in (None, inspect.Parameter.empty):
        kind = type(default)
    return Option(_check_of(kind), optional)


def _check_of(kind: Any) -> Check:
    if get_origin(kind) is Annotated:
        return kind.__metadata__[0]
    if get_origin(kind) is Literal:
        return choice(kind)
    if kind is tuple or get_origin(kind) is tuple:
        return wholes(0, "64,128")
    plain = {bool: switch, int: whole(-(2**63)), str: text, float: between(*_ANY_NUMBER)}
    return plain.get(kind, lambda name, value: value)


_ANY_NUMBER = (float("-inf"), float("inf"), "a number")
