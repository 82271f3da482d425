"""Refusals that several families share: what was received, what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

from kcnn.errors import InputError
from kcnn.startup import keras


def rate(dropout: float) -> None:
    """Refuse a dropout rate outside [0, 1)."""
    number = isinstance(dropout, Real) and not isinstance(dropout, bool)
    if not number or not 0.0 <= dropout < 1.0:
        raise InputError(f"dropout is a rate from 0 up to, not including, 1; received {dropout!r}.")


def choice(option: str, value: object, allowed: Sequence[object]) -> None:
    """Refuse a `value` that is not one of `allowed`."""
    if value not in allowed:
        choices = ", ".join(map(repr, allowed))
        raise InputError(f"{option} is one of {choices}; received {value!r}.")


def activation(option: str, activation: object) -> None:
    """Refuse an `activation` that Keras does not know."""
    try:
        keras.activations.get(activation)
    except ValueError as error:
        raise InputError(
            f"{option} is an activation of Keras, such as 'relu', 'tanh', 'sigmoid' or "
            f"'softmax', or None; received {activation!r}."
        ) from error


def lengths(**rows: Sequence[int]) -> None:
    """Refuse lists of numbers that must go together and have different lengths."""
    if len({len(row) for row in rows.values()}) > 1:
        lengths = ", ".join(f"{name} has {len(row)}" for name, row in rows.items())
        raise InputError(f"One entry each is needed: {lengths}.")
