"""The layers of any model, nested ones in their place."""

from __future__ import annotations

from collections.abc import Iterator

from kcnn.startup import keras


def operations(model: keras.Model) -> list[keras.Operation]:
    """The layers of `model` and the operations between them, nested models' in their place.

    A model of a class of its own has no graph to look into: it counts as one layer.
    """
    leaves = []
    for operation in getattr(model, "operations", model.layers):
        nested = isinstance(operation, keras.Sequential) or hasattr(operation, "operations")
        leaves += operations(operation) if nested else [operation]
    return leaves


def leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a model, nested models' in their place."""
    for layer in model.layers:
        nested = isinstance(layer, keras.Sequential) or hasattr(layer, "operations")
        yield from leaves(layer) if nested else (layer,)


def is_keras_own(layer: keras.layers.Layer) -> bool:
    """Whether the layer's config says all there is; a Lambda's code is not copied from one."""
    foreign = not type(layer).__module__.startswith("keras.")
    return not foreign and not isinstance(layer, keras.layers.Lambda)
