"""What may be asked of a style transfer."""

from __future__ import annotations

import math
from collections.abc import Collection
from operator import index
from typing import Any

from kcnn.errors import InputError
from kcnn.interpret.style_losses import Weights


def weights(content: Any, style: Any, smoothness: Any) -> Weights:
    """Weights of the terms.

    Raises:
        InputError: One is below 0, or no number; content and style are both 0.
    """
    given = {"content_weight": content, "style_weight": style, "smoothness": smoothness}
    for name, value in given.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not 0 <= value < math.inf
        ):
            raise InputError(
                f"{name} is a number from 0 up, and 0 leaves the term out; received {value!r}."
            )
    if not content and not style:
        raise InputError("content_weight and style_weight are both 0: nothing is sought.")
    return Weights(float(content), float(style), float(smoothness))


def choice(name: str, value: Any, among: Collection[str]) -> None:
    """One of some words.

    Raises:
        InputError: It is another.
    """
    if value not in among:
        raise InputError(f"{name} is {' or '.join(map(repr, among))}; received {value!r}.")


def count(name: str, value: Any) -> int:
    """A number from 1 up.

    Raises:
        InputError: It is less, or not whole.
    """
    try:
        number = index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise InputError(f"{name} is a whole number from 1 up; received {value!r}.")
    return number


def names(name: str, value: Any) -> list[str]:
    """Names of layers, each once.

    Raises:
        InputError: There are none, or something else.
    """
    found = [value] if isinstance(value, str) else list(value)
    if not found or not all(isinstance(one, str) for one in found) or len(set(found)) < len(found):
        raise InputError(f"{name} are names of layers, each once; received {value!r}.")
    return found
