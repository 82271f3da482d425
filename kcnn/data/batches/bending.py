"""Rotation, zoom and erasing of whole batches: pure functions of (images, seed).

As Keras' layers RandomRotation and RandomZoom do: about the middle, bilinear, the picture reflected
at its border; one interpolation for both. The layers themselves (3.15) draw from a state of their
own, which a resumed training would have to find again; as a seed they take no tensor, and with a
number RandomErasing takes sides and places from one and the same draw.
"""

from __future__ import annotations

import math

from kcnn.startup import tf

_ALG = "philox"
#: Of Zhong et al. 2020, section 4.2: shares of the area, and the smallest ratio of the sides.
_AREAS, _RATIO = (0.02, 0.4), 0.3
#: Rectangles of which the first that fits is taken; that none does happens to one image in 10^5.
_TRIES = 32


def turn(images: tf.Tensor, rotation: float, zoom: float, seed: tf.Tensor) -> tf.Tensor:
    """Rotate and zoom each image about its middle.

    Args:
        images: (B, H, W, C), uint8 or float32.
        rotation: Degrees; each image's angle is drawn evenly from -rotation to rotation.
        zoom: In [0, 1); each image's factor is drawn evenly from 1 - zoom to 1 + zoom: above 1 more
            is seen, smaller.
        seed: (2,) integers.

    Returns:
        The shape and the dtype of `images`; bytes are rounded.
    """
    numbers = tf.random.stateless_uniform((2, tf.shape(images)[0]), seed, -1.0, 1.0, alg=_ALG)
    angle, factor = numbers[0] * (rotation * math.pi / 180), 1.0 + numbers[1] * zoom
    along, across = factor * tf.cos(angle), factor * tf.sin(angle)  # (B,)
    _, height, width, _ = images.shape
    x, y = 0.5 * (width - 1), 0.5 * (height - 1)  # of the middle, which stays
    zero = tf.zeros_like(angle)
    rows = [along, -across, x - along * x + across * y, across, along, y - across * x - along * y]
    return projected(images, tf.stack([*rows, zero, zero], axis=1))


def projected(images: tf.Tensor, transforms: tf.Tensor) -> tf.Tensor:
    """Pixel (x, y) of an image is what (ax + by + c, dx + ey + f) was, bilinear, reflected outside.

    Args:
        images: (B, H, W, C), uint8 or float32.
        transforms: (B, 8) float32: a, b, c, d, e, f, 0, 0.

    Returns:
        The shape and the dtype of `images`; bytes are rounded.
    """
    bent = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transforms,
        output_shape=images.shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    bent = tf.ensure_shape(bent, images.shape)
    return tf.cast(tf.round(bent) if images.dtype == tf.uint8 else bent, images.dtype)


def erase(images: tf.Tensor, probability: float, seed: tf.Tensor) -> tf.Tensor:
    """Put noise into a random rectangle of some of the images.

    Zhong et al. 2020 (arXiv 1708.04896), algorithm 1: of an area of 2 to 40 % of the image's, and
    of sides whose ratio is 0.3 to 1/0.3; places are drawn until it lies within. Each pixel's noise
    is drawn evenly from 0 to 255; in float32, which has no such range, from the image's lowest to
    its highest value.

    Args:
        images: (B, H, W, C), uint8 or float32.
        probability: That an image has one, in [0, 1].
        seed: (2,) integers.

    Returns:
        The shape and the dtype of `images`.
    """
    batch, (height, width) = tf.shape(images)[0], images.shape[1:3]
    seeds = tf.unstack(tf.random.split(seed, num=3, alg=_ALG))
    numbers = tf.random.stateless_uniform((4, _TRIES, batch), seeds[0], alg=_ALG)
    area = height * width * (_AREAS[0] + (_AREAS[1] - _AREAS[0]) * numbers[0])
    ratio = _RATIO + (1 / _RATIO - _RATIO) * numbers[1]
    high, wide = _whole(tf.sqrt(area * ratio)), _whole(tf.sqrt(area / ratio))
    top, left = tf.cast(numbers[2] * height, tf.int32), tf.cast(numbers[3] * width, tf.int32)
    fits = (top + high <= height) & (left + wide <= width)  # (_TRIES, B)
    first = tf.argmax(tf.cast(fits, tf.int32), axis=0, output_type=tf.int32)
    at = tf.stack([first, tf.range(batch)], axis=1)
    top, left, high, wide, fit = (tf.gather_nd(v, at) for v in (top, left, high, wide, fits))
    taken = fit & (tf.random.stateless_uniform((batch,), seeds[1], alg=_ALG) < probability)
    rows, columns = _within(top, high, height), _within(left, wide, width)
    inside = rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :] & taken[:, tf.newaxis, tf.newaxis]
    return tf.where(inside[..., tf.newaxis], _noise(images, seeds[2]), images)


def _whole(side: tf.Tensor) -> tf.Tensor:
    return tf.maximum(tf.cast(tf.round(side), tf.int32), 1)


def _within(first: tf.Tensor, count: tf.Tensor, size: int) -> tf.Tensor:
    """(B, size): which places are the `count` from `first` on."""
    places, first = tf.range(size), first[:, tf.newaxis]
    return (places >= first) & (places < first + count[:, tf.newaxis])


def _noise(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """As `images`, every value for itself."""
    if images.dtype != tf.uint8:
        low, high = (f(images, (1, 2, 3), keepdims=True) for f in (tf.reduce_min, tf.reduce_max))
        numbers = tf.random.stateless_uniform(tf.shape(images), seed, alg=_ALG)
        return low + tf.cast(numbers, images.dtype) * (high - low)
    count = math.prod(images.shape[1:])
    words = tf.random.stateless_uniform(  # of four bytes each: a quarter of the work
        (tf.shape(images)[0], -(-count // 4)), seed, None, None, tf.int32, alg=_ALG
    )
    values = tf.reshape(tf.bitcast(words, tf.uint8), (-1, 4 * words.shape[1]))
    return tf.reshape(values[:, :count], tf.shape(images))
