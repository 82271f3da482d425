"""The layers of any model, nested ones in their place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kcnn.startup import keras


def operations(model: keras.Model) -> list[keras.Operation]:
    """The layers of `model` and the operations between them, nested models' in their place.

    A model of a class of its own has no graph to look into: it counts as one layer.
    """
    leaves = []
    for operation in getattr(model, "operations", model.layers):
        leaves += operations(operation) if is_model(operation) else [operation]
    return leaves


def is_model(operation: keras.Operation) -> bool:
    """Whether an operation is a model, nested in another, whose layers can be seen."""
    return isinstance(operation, keras.Sequential) or hasattr(operation, "operations")


def leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model, nested models' in their place."""
    for layer in model.layers:
        yield from leaves(layer) if is_model(layer) else (layer,)


def is_keras_own(layer: keras.layers.Layer) -> bool:
    """Whether the layer's config says all there is; a Lambda's code is not copied from one."""
    foreign = not type(layer).__module__.startswith("keras.")
    return not foreign and not isinstance(layer, keras.layers.Lambda)


def references(value: Any) -> Iterator[str]:
    """Names of the layers whose outputs occur in a part of a functional model's config."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        return
    if [type(part) for part in value] == [str, int, int]:  # layer, call, output
        yield value[0]
        return
    for part in value:
        yield from references(part)
