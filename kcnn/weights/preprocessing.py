"""What images go through before published weights: two numbers a channel, of bytes 0 to 255."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.walk import leaves
from kcnn.startup import keras


@dataclass(frozen=True)
class Normalisation:
    """(x - mean) / deviation; of published weights with x in 0..255, red, green, blue.

    Args:
        mean: Of each channel.
        deviation: Of each channel.
        flipped: Whether the weights read blue, green, red; the numbers here are in our order.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    flipped: bool = False


#: Layers that move pixels and leave their values.
_PLACES = ("InputLayer", "Resizing", "ZeroPadding2D", "Cropping2D", "CenterCrop")

#: Names as in `keras.applications.imagenet_utils.preprocess_input`.
NAMED: Mapping[str, Normalisation] = {
    "torch": Normalisation(
        (0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255)
    ),
    "caffe": Normalisation((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), flipped=True),
    "tf": Normalisation((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
}


def named(name: str) -> Normalisation:
    """The normalisation of that name.

    Raises:
        InputError: There is none.
    """
    if name not in NAMED:
        raise InputError(
            f"preprocessing is {', '.join(map(repr, NAMED))}, as the weights were trained with, or "
            f"layers of Keras; received {name!r}."
        )
    return NAMED[name]


def of_model(model: keras.Model) -> Normalisation | None:
    """What a trained model of images does with their values in front of its first weights.

    Returns:
        Mean and deviation of each channel; None where it computes anything else there, or nothing.
    """
    scale, offset = np.ones(1), np.zeros(1)
    for layer in leaves(model):
        kind = type(layer).__name__
        if kind == "Rescaling":
            factor, added = np.atleast_1d(layer.scale), np.atleast_1d(layer.offset)
        elif kind == "Normalization" and layer.mean is not None:
            mean, variance = (np.asarray(v).reshape(-1) for v in (layer.mean, layer.variance))
            factor, added = 1.0 / np.sqrt(variance), -mean / np.sqrt(variance)
        elif layer.weights:
            break
        elif kind in _PLACES:
            continue
        else:
            return None
        scale, offset = scale * factor, offset * factor + added
    if scale.size == 1 and scale == 1.0 and offset.size == 1 and not offset:
        return None
    channels = model.input_shape[-1]
    mean, deviation = (np.broadcast_to(v, (channels,)) for v in (-offset / scale, 1.0 / scale))
    return Normalisation(tuple(mean.tolist()), tuple(deviation.tolist()))


def layer_of(normalisation: Normalisation, channels: int) -> keras.layers.Layer:
    """(N, H, W, channels) of 0..255 to what the network computes with, in float32.

    Images of another number of channels than it has have the mean of its numbers each.
    """
    mean, deviation = np.array(normalisation.mean), np.array(normalisation.deviation)
    if channels != len(mean):
        mean, deviation = np.full(channels, mean.mean()), np.full(channels, deviation.mean())
    return keras.layers.Rescaling(
        (1.0 / deviation).tolist(), (-mean / deviation).tolist(), dtype="float32", name="normalize"
    )
