"""Which values a field takes: each check gives the value as plain data, or refuses it.

A check takes the field's name and a value that is not None.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from itertools import pairwise
from numbers import Real
from operator import index
from typing import Any, get_args

from kcnn.errors import InputError

#: What the columns of a table hold.
COLUMNS = ("file", "label", "split", "weight")
#: What begins the name of something that a recipe does not hold: the user's program has it.
OWN = "own: "
#: What Python hands over in place of a recipe's own.
COMPILED = ("optimizer", "loss", "metrics")

Check = Callable[[str, Any], Any]


def whole(low: int, below: int = 2**31, meaning: str = "") -> Check:
    """A whole number from `low` up, and below `below`."""
    meaning = meaning or f"a whole number{f' from {low} up' if low > -(2**63) else ''}"

    def check(name: str, value: Any) -> int:
        try:
            number = None if _is_bool(value) else index(value)
        except TypeError:
            number = None
        if number is None or not low <= number < below:
            raise InputError(f"{name} is {meaning}; received {value!r}.")
        return number

    return check


def between(low: float, below: float, meaning: str) -> Check:
    """A finite number from `low` up, and below `below`."""

    def check(name: str, value: Any) -> float:
        number = isinstance(value, Real) and not _is_bool(value)
        if not number or not _is_finite(value) or not low <= value < below:
            raise InputError(f"{name} is {meaning}; received {value!r}.")
        return plain(value)

    return check


def choice(allowed: Any, otherwise: Mapping[str, str] | None = None, *, own: bool = False) -> Check:
    """One of the values of a `Literal`; `otherwise` says how to have what goes by no such name.

    With `own`, the name of one that was handed over passes, too.
    """

    def check(name: str, value: Any) -> Any:
        if own and isinstance(value, str) and value.startswith(OWN):
            return value
        if isinstance(value, bool) or value not in get_args(allowed):
            choices = ", ".join(map(str, get_args(allowed)))
            hint = (otherwise or {}).get(str(value).lower(), "")
            raise InputError(f"{name} is one of {choices}; received {value!r}. {hint}".rstrip())
        return value

    return check


def switch(name: str, value: Any) -> bool:
    """True or False."""
    if not _is_bool(value):
        raise InputError(f"{name} is True or False; received {value!r}.")
    return bool(value)


def text(name: str, value: Any) -> str:
    """A text, or a path."""
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(f"{name} is a text; received {value!r}.")
    return str(os.fspath(value))


def plain(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    return value.item() if hasattr(value, "item") else value


def _is_bool(value: Any) -> bool:
    """NumPy's, too, without loading NumPy."""
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond those of floats
        return False


def image_size(name: str, value: Any) -> tuple[int, int]:
    """(height, width) in pixels."""
    try:
        height, width = (whole(1)(name, side) for side in value)
    except (TypeError, ValueError, InputError):
        raise InputError(
            f"image_size is (height, width), two whole numbers from 1 up; received {value!r}."
        ) from None
    return height, width


def mask_values(name: str, value: Any) -> tuple[int, ...]:
    """Values of a mask's pixels, 0 to 255: one, or several."""
    try:
        given = [value] if isinstance(value, Real) else value
        if isinstance(given, (str, Mapping)):
            raise TypeError
        return tuple(whole(0, 256)(name, one) for one in given)
    except (TypeError, InputError):
        raise InputError(
            f"{name} are values of masks, whole numbers from 0 to 255; received {value!r}."
        ) from None


def columns(name: str, value: Any) -> str:
    """Names of a table's columns, by what they hold: `file=path,label=diagnosis`, or a mapping."""
    if isinstance(value, Mapping):
        value = ",".join(f"{kind}={column}" for kind, column in value.items())
    pairs = [pair.partition("=") for pair in value.split(",")] if isinstance(value, str) else []
    kinds = [kind.strip() for kind, _, column in pairs if column.strip()]
    if not pairs or len(set(kinds)) < len(pairs) or set(kinds) - {*COLUMNS}:
        raise InputError(
            f"columns names those of a table, such as file=path,label=diagnosis, of "
            f"{', '.join(COLUMNS)}; received {value!r}."
        )
    return ",".join(f"{k.strip()}={column.strip()}" for k, _, column in pairs)


def share(name: str, value: Any) -> float:
    """A number from 0 to 1, both included."""
    number = isinstance(value, Real) and not _is_bool(value)
    if not number or not 0 <= value <= 1:
        raise InputError(f"{name} is a share from 0 to 1; received {value!r}.")
    return float(plain(value))


def validation(name: str, value: Any) -> float:
    """A share, or a number of images."""
    found: float = plain(value)
    number = isinstance(found, (int, float)) and not isinstance(found, bool) and _is_finite(found)
    if not number or not (0 < found < 1 or (found >= 1 and found == int(found))):
        raise InputError(
            f"validation is a share of the training images between 0 and 1, or a whole number of "
            f"images; epochs are chosen on it, so that it cannot be 0. Received {value!r}."
        )
    return found


def compiled(name: str, value: Any) -> dict[str, Any]:
    """What was handed over, by its name among the arguments of `compile`, as JSON."""
    if not isinstance(value, Mapping) or value.keys() - {*COMPILED}:
        raise InputError(
            f"{name} holds configs of Keras by {', '.join(COMPILED)}; received {value!r}. "
            f"kcnn.train(recipe, optimizer=..., loss=..., metrics=...) fills it in."
        )
    try:
        found: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{name} is plain data, as JSON has it: {error}.") from error
    return found


def rates(name: str, value: Any) -> tuple[tuple[int, float], ...]:
    """Pairs of a step and a learning rate, the steps rising."""
    try:
        if isinstance(value, (str, Mapping)):
            raise TypeError
        found = tuple(
            (whole(0)(name, step), float(between(1e-12, math.inf, "a rate")(name, rate)))
            for step, rate in value
        )
        if any(a[0] >= b[0] for a, b in pairwise(found)):
            raise ValueError
    except (TypeError, ValueError, InputError):
        raise InputError(
            f"{name} are pairs of a step, from 0 up and rising, and a learning rate above 0; "
            f"received {value!r}."
        ) from None
    return found


def period(name: str, value: Any) -> str:
    """So many steps, or so much time; read where it is used."""
    return str(value) if isinstance(value, int) else text(name, value)


def mapping(name: str, value: Any) -> dict[str, Any]:
    """Options of a network, by name."""
    if not isinstance(value, Mapping):
        raise InputError(f"options are the network's own, by name; received {value!r}.")
    for said in _SAID_ELSEWHERE.keys() & value.keys():
        raise InputError(f"{said} is no option of a network: {_SAID_ELSEWHERE[said]}.")
    return dict(value)


#: What `kcnn.build` takes beside a network's own options.
_SAID_ELSEWHERE = {
    "name": "the network's name is the model",
    "input_shape": "images are as large as the data's, or as image_size says",
    "classes": "there are as many as the data have",
    "weights": "a training begins with random ones",
    "preprocessing": "training puts its own in front",
    "input_tensor": "training makes its own",
}


def folder_name(name: str, value: Any) -> str:
    """One that is a single step of a path."""
    if not isinstance(value, str) or value in ("", ".", "..") or "/" in value or "\0" in value:
        raise InputError(f"name is the name of a folder below `logs`; received {value!r}.")
    return value
