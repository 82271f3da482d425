"""What images go through before published weights: two numbers a channel, of bytes 0 to 255."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kcnn.errors import InputError
from kcnn.startup import keras


@dataclass(frozen=True)
class Normalisation:
    """(x - mean) / deviation, with x in 0..255 and channels red, green, blue.

    Args:
        mean: Of each channel.
        deviation: Of each channel.
        flipped: Whether the weights read blue, green, red; the numbers here are in our order.
    """

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    flipped: bool = False


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


def layer_of(normalisation: Normalisation, channels: int) -> keras.layers.Layer:
    """(N, H, W, channels) of 0..255 to what the network computes with, in float32.

    Images of another number of channels than three have the mean of the three numbers each.
    """
    mean, deviation = np.array(normalisation.mean), np.array(normalisation.deviation)
    if channels != 3:
        mean, deviation = np.full(channels, mean.mean()), np.full(channels, deviation.mean())
    return keras.layers.Rescaling(
        (1.0 / deviation).tolist(), (-mean / deviation).tolist(), dtype="float32", name="normalize"
    )
