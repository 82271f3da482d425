"""A network that takes pictures of any size, padded to its stride and cut back inside the model.

Sizes are known when pictures are. Every stride-th row, repeated as often, makes as many rows as the
padded picture has. Rows are then taken by number, the last one again where there are no more: exact
copies, in operations that every backend and exporter knows.
"""

from __future__ import annotations

from typing import Any

from kcnn.graph.modes import settled
from kcnn.graph.photographs import rebuilt
from kcnn.startup import keras

#: Of the part that pads, in the graph of a network.
NAME = "pad_picture"


def with_padding(network: keras.Model, multiple: int) -> keras.Model:
    """A model of the layers of `network` that takes pictures of any size.

    Args:
        network: (N, H, W, C) to (N, H, W, K), of sides that are multiples of `multiple`.
        multiple: From 2 up.

    Returns:
        Not compiled; (N, any height, any width, C) in, outputs of the same height and width.
    """
    channels = network.input_shape[-1]
    pictures = keras.Input((None, None, channels), name="pictures")
    inside = _padding(multiple, channels)(pictures)

    def call(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        first = [inside if arg is pictures else arg for arg in args]
        return operation(*first, **settled(operation, kwargs))

    whole = rebuilt(network, pictures, call)
    if len(network.output_shape) != 4:  # what belongs to no place is not cut
        return whole
    outputs = _cutting(channels, network.output_shape[-1])([pictures, whole.outputs[0]])
    return keras.Model(pictures, outputs, name=network.name)


def without_padding(model: keras.Model) -> keras.Model:
    """The network inside what `with_padding` gave, also from a file; another model as it is."""
    padding = next((layer for layer in model.layers if layer.name == NAME), None)
    if padding is None:
        return model
    inputs = keras.Input(padding.output_shape[1:], name="image")
    cutting = next((layer for layer in model.layers if layer.name == f"{NAME}_cut"), None)

    def call(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        if operation is padding:
            return args[0]
        return args[0][1] if operation is cutting else operation(*args, **kwargs)

    return rebuilt(model, inputs, call)


def _padding(multiple: int, channels: int) -> keras.Model:
    """A model without weights: (N, H, W, C) to (N, H', W', C), the border repeated."""
    ops = keras.ops
    pictures = keras.Input((None, None, channels), name="pictures")
    ones = ops.ones_like(pictures[:1, :, :, :1], dtype="float32")
    steps = keras.layers.MaxPooling2D(1, strides=multiple)(ones)
    whole = keras.layers.UpSampling2D(multiple)(steps)
    rows = ops.minimum(_places(whole[0, :, :1, 0]), ops.max(_places(ones[0, :, :1, 0])))
    columns = ops.minimum(_places(whole[0, :1, :, 0]), ops.max(_places(ones[0, :1, :, 0])))
    taken = ops.take(ops.take(pictures, rows, axis=1), columns, axis=2)
    return keras.Model(pictures, taken, name=NAME)


def _cutting(channels: int, outputs: int) -> keras.Model:
    """A model without weights: of pictures and outputs of the padded ones, those of the picture."""
    ops = keras.ops
    pictures = keras.Input((None, None, channels), name="pictures")
    padded = keras.Input((None, None, outputs), name="padded")
    ones = ops.ones_like(pictures[:1, :, :, :1], dtype="float32")
    rows, columns = _places(ones[0, :, :1, 0]), _places(ones[0, :1, :, 0])
    cut = ops.take(ops.take(padded, rows, axis=1), columns, axis=2)
    return keras.Model([pictures, padded], cut, name=f"{NAME}_cut")


def _places(side: keras.KerasTensor) -> keras.KerasTensor:
    """0, 1, 2, ... along a side of ones whose length is known when pictures are."""
    ops = keras.ops
    flat = ops.reshape(ops.ones_like(side), (-1,))
    return ops.cast(ops.cumsum(flat) - 1, "int32")
