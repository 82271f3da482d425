"""Images as what is looked into takes them: arrays, or batches of them one after another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.startup import keras

#: Images, and pixels of them, that are computed at once at most: 20 of 224×224, whose maps in each
#: of VGG's first layers are a quarter of a GiB.
_IMAGES, _PIXELS = 64, 2**20


def as_images(images: Any) -> np.ndarray:
    """(N, H, W, C) float32 with the values as they are, of an array or tensor.

    Raises:
        InputError: Of another rank, empty, or not finite.
    """
    array = _numbers(images)
    if array.ndim != 4 or not array.size:
        raise InputError(
            f"Images are an array (N, H, W, C) with N >= 1; received one of shape {array.shape}."
        )
    if not np.isfinite(array).all():
        raise InputError("Some pixels of the images are NaN or infinite.")
    return array


def at_once(images: Any) -> int:
    """How many of such images (N, H, W, C) are computed at once: fewer of large ones."""
    return min(max(_PIXELS // max(math.prod(images.shape[1:3]), 1), 1), _IMAGES)


def batches(images: Any) -> Iterator[np.ndarray]:
    """Batches (B, H, W, C) float32, B up to `at_once`, of an array or of an iterable of batches.

    Args:
        images: (N, H, W, C); or an iterable, such as a `tf.data.Dataset`, whose elements are
            batches of images, or tuples and lists that begin with one.

    Raises:
        InputError: Neither, or nothing in it.
    """
    if hasattr(images, "shape"):
        parts: Iterable[Any] = [images]
    elif isinstance(images, Iterable) and not isinstance(images, (str, bytes, dict)):
        parts = (part[0] if isinstance(part, (tuple, list)) else part for part in images)
    else:
        raise InputError(
            f"images is an array (N, H, W, C) or an iterable of batches of such; received "
            f"{type(images).__name__}."
        )
    empty = True
    for part in parts:
        size = at_once(part)
        for begin in range(0, len(part), size):
            empty = False
            yield as_images(part[begin : begin + size])
    if empty:
        raise InputError("There are no images to look at.")


def shape_of(images: np.ndarray) -> tuple[int, int, int]:
    """(H, W, C)."""
    _, height, width, channels = images.shape
    return height, width, channels


def resized(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps (N, h, w) at another size (N, height, width), bilinear, float32."""
    if maps.shape[1:] == (height, width):
        return maps
    large = keras.ops.image.resize(
        maps[..., np.newaxis],
        (height, width),
        interpolation="bilinear",
        data_format="channels_last",
    )
    return np.asarray(keras.ops.convert_to_numpy(large))[..., 0]


def _numbers(images: Any) -> np.ndarray:
    array = images if isinstance(images, np.ndarray) else keras.ops.convert_to_numpy(images)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise InputError(f"Images are numbers; received an array of {array.dtype}.")
    return np.asarray(array, "float32")
