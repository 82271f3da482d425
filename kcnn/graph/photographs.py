"""A network that takes photographs as they are: of any size, scaled and cut inside the model.

The pipeline fits image files with Pillow (`kcnn.data.sets.decoding.fitted`) before a network sees
them. Here the same resampling is a graph of Keras' operations, so that a saved network needs no
pipeline: a triangle filter of the width of the scale (`Image.Resampling.BILINEAR`), along rows
first, rounded to whole values behind each of the two. It is two matrix products, which every
backend and exporter knows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kcnn.graph.modes import settled
from kcnn.startup import keras

#: Of the part that fits, in the graph of a network.
NAME = "fit_photograph"


def oversize(height: int, width: int, scale: float) -> tuple[int, int]:
    """The size to which a photograph is fit, of which the middle `height` × `width` is used."""
    return round(scale * height), round(scale * width)


def middle(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Row and column at which the middle of an image of that size begins."""
    return (size[0] - height) // 2, (size[1] - width) // 2


def with_fitting(network: keras.Model, scale: float) -> keras.Model:
    """A model of the layers of `network` that takes photographs.

    Args:
        network: Functional or sequential, on inputs (N, H, W, C).
        scale: Times (H, W) to which photographs are fit; the middle (H, W) goes in. At least 1.

    Returns:
        Not compiled; (N, any height, any width, C) in, values 0 to 255, the outputs of `network`.
    """
    height, width, channels = network.input_shape[1:]
    photographs = keras.Input((None, None, channels), name="photographs")
    inside = _fitting(height, width, channels, scale)(photographs)

    def call(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        first = [inside if arg is photographs else arg for arg in args]
        return operation(*first, **settled(operation, kwargs))

    return rebuilt(network, photographs, call)


def without_fitting(model: keras.Model) -> keras.Model:
    """The network inside what `with_fitting` gave, also from a file; another model as it is."""
    fitting = next((layer for layer in model.layers if layer.name == NAME), None)
    if fitting is None:
        return model
    inputs = keras.Input(fitting.output_shape[1:], name="image")

    def call(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        return args[0] if operation is fitting else operation(*args, **kwargs)

    return rebuilt(model, inputs, call)


def rebuilt(model: keras.Model, inputs: keras.KerasTensor, call: Any) -> keras.Model:
    """The same layers in a graph that begins with `inputs`."""
    sequential = isinstance(model, keras.Sequential)
    ends = (model.inputs[0], model.outputs[0]) if sequential else (model.input, model.output)
    plain = keras.Model(*ends, name=model.name)  # made anew, a model is not compiled
    return keras.models.clone_model(
        plain,
        input_tensors=keras.tree.map_structure(lambda _: inputs, ends[0]),
        clone_function=lambda operation: operation,
        call_function=call,
    )


def _fitting(height: int, width: int, channels: int, scale: float) -> keras.Model:
    """A model without weights: (N, any, any, C) to (N, height, width, C), whole float32."""
    ops = keras.ops
    target = oversize(height, width, scale)
    top, left = middle(target, height, width)
    photographs = keras.Input((None, None, channels), name="photographs")
    x = ops.cast(photographs, "float32")
    # Sizes are known when images are: 1, 2, 3, ... along each side.
    rows = ops.cumsum(ops.ones_like(x[:1, :, :1, :1]), axis=1)
    columns = ops.cumsum(ops.ones_like(x[:1, :1, :, :1]), axis=2)
    step = ops.minimum(ops.max(rows) / target[0], ops.max(columns) / target[1])
    x = ops.transpose(x, (0, 1, 3, 2)) @ _weights(columns, step, target[1], left, width)
    x = ops.floor(x + 0.5)  # Pillow's rounding: bytes, half goes up
    x = ops.transpose(x, (0, 2, 3, 1)) @ _weights(rows, step, target[0], top, height)
    x = ops.transpose(ops.floor(x + 0.5), (0, 3, 2, 1))
    return keras.Model(photographs, x, name=NAME)


def _weights(
    places: keras.KerasTensor, step: keras.KerasTensor, target: int, first: int, count: int
) -> keras.KerasTensor:
    """(pixels, count): the share of each pixel of a side in each that is made of it.

    Args:
        places: 1 to the number of pixels.
        step: Pixels from one that is made to the next.
        target: How many would be made of the whole side.
        first: The first of those that are.
        count: How many are.
    """
    ops = keras.ops
    centres = step * (np.arange(count, dtype="float32") + np.float32(first + 0.5))
    centres = centres + (ops.max(places) - step * target) / 2
    apart = ops.abs(ops.reshape(places, (-1, 1)) - 0.5 - centres)
    weights = ops.maximum(1.0 - apart / ops.maximum(step, 1.0), 0.0)
    return weights / ops.sum(weights, axis=0, keepdims=True)
