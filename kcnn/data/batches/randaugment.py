"""RandAugment of whole batches: a pure function of (images, seed).

Cubuk et al. 2020 (arXiv 1909.13719), section 3: N of fourteen operations, drawn evenly and with
repeats, each at magnitude M of 0 to 10, where 10 is the end of the ranges of AutoAugment (Cubuk et
al. 2019, arXiv 1805.09501, table 6). Every image draws its own, here as there;
keras.layers.RandAugment (3.15) draws once for a batch, and takes no heed of a seed that is given.
The operations are Pillow's, as theirs are:

    rotate                  30 degrees
    shear_x, shear_y        0.3
    translate_x, _y         150 / 331 of the side
    colour, contrast,       by a factor of 1 - 0.9 or 1 + 0.9
      brightness, sharpness
    solarize                values from 256 - 256 on are inverted
    posterize               8 - 4 bits are left
    auto_contrast, equalize, identity

Signs are drawn, too. The paper does not say what becomes visible at the border: the picture
reflected, bilinear, as in Keras' layer. Strength grows with M in every operation, as in torchvision
and timm; the authors' own code has posterize and solarize the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kcnn.data.batches.bending import projected
from kcnn.startup import tf

_ALG = "philox"
#: What 10 is: see above.
_DEGREES, _SHEAR, _SHIFT, _FACTOR, _SOLARIZED, _BITS = 30.0, 0.3, 150 / 331, 0.9, 256, 4
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R 601

_Operation = Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]


def rand_augment(images: tf.Tensor, count: int, magnitude: float, seed: tf.Tensor) -> tf.Tensor:
    """Apply `count` operations to each image, each drawn of all fourteen.

    Args:
        images: (B, H, W, C) uint8. Of other than three channels, colour changes nothing.
        count: N, at least 1.
        magnitude: M, above 0 and up to 10.
        seed: (2,) integers.

    Returns:
        The shape and the dtype of `images`.
    """
    drawn = tf.random.stateless_uniform(
        (count, tf.shape(images)[0]), seed, 0, 2 * len(NAMES), tf.int32, alg=_ALG
    )
    x = tf.cast(images, tf.float32)  # of whole numbers throughout
    for numbers in tf.unstack(drawn):
        x = operate(x, numbers // 2, 1 - 2 * (numbers % 2), magnitude)
    return tf.cast(x, tf.uint8)


def operate(
    images: tf.Tensor, operations: tf.Tensor, signs: tf.Tensor, magnitude: float
) -> tf.Tensor:
    """Apply one operation to each image.

    Args:
        images: (B, H, W, C) float32, whole numbers from 0 to 255.
        operations: (B,) int32, places in `NAMES`.
        signs: (B,) int32, 1 or -1; of those operations that have two directions.
        magnitude: Up to 10.

    Returns:
        (B, H, W, C) float32, whole numbers from 0 to 255.
    """
    group = tf.minimum(operations, len(_ALONE))
    split = [
        tf.dynamic_partition(what, group, len(_ALONE) + 1)
        for what in (tf.range(tf.shape(images)[0]), images, operations, signs)
    ]
    members, parts, kinds, ways = split
    level = magnitude / 10
    made = [
        operation(part, way, level)
        for operation, part, way in zip(_ALONE.values(), parts, ways, strict=False)
    ]
    _, height, width, _ = images.shape
    transforms = tf.constant(_transforms(height, width, level))
    which = 2 * (kinds[-1] - len(_ALONE)) + tf.cast(ways[-1] < 0, tf.int32)
    moved = tf.round(projected(parts[-1], tf.gather(transforms, which)))
    return tf.ensure_shape(tf.dynamic_stitch(members, [*made, moved]), images.shape)


def _identity(images: tf.Tensor, signs: tf.Tensor, level: float) -> tf.Tensor:
    return images


def _auto_contrast(images: tf.Tensor, signs: tf.Tensor, level: float) -> tf.Tensor:
    """Of each channel, the lowest value to 0 and the highest to 255."""
    low, high = (f(images, (1, 2), keepdims=True) for f in (tf.reduce_min, tf.reduce_max))
    spread = tf.round((images - low) * (255.0 / tf.maximum(high - low, 1.0)))
    return tf.where(high > low, spread, images)


def _equalize(images: tf.Tensor, signs: tf.Tensor, level: float) -> tf.Tensor:
    """Of each channel, values to the place of their rank, as `PIL.ImageOps.equalize` counts."""
    _, height, width, channels = images.shape
    values = tf.cast(tf.transpose(images, (0, 3, 1, 2)), tf.int32)
    values = tf.reshape(values, (-1, height * width))  # (B C, H W)
    empty = tf.zeros((0,), tf.int32)
    counts = tf.raw_ops.DenseBincount(input=values, size=256, weights=empty)  # (B C, 256)
    highest = tf.reduce_max(values, axis=1, keepdims=True)
    last = tf.gather(counts, highest, batch_dims=1)  # (B C, 1)
    step = (height * width - last) // 255
    before = tf.cumsum(counts, axis=1, exclusive=True)
    table = tf.minimum((before + step // 2) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, table, tf.range(256))
    found = tf.reshape(tf.gather(table, values, batch_dims=1), (-1, channels, height, width))
    return tf.transpose(tf.cast(found, tf.float32), (0, 2, 3, 1))  # of int32, oneDNN complains


def _solarize(images: tf.Tensor, signs: tf.Tensor, level: float) -> tf.Tensor:
    return tf.where(images < _SOLARIZED * (1 - level), images, 255.0 - images)


def _posterize(images: tf.Tensor, signs: tf.Tensor, level: float) -> tf.Tensor:
    step = 2.0 ** round(_BITS * level)
    return tf.floor(images * (1 / step)) * step


def _colour(images: tf.Tensor, signs: tf.Tensor, level: float) -> tf.Tensor:
    return _away(tf.round(_grey(images)), images, signs, level)


def _contrast(images: tf.Tensor, signs: tf.Tensor, level: float) -> tf.Tensor:
    mean = tf.reduce_mean(tf.round(_grey(images)), axis=(1, 2, 3), keepdims=True)
    return _away(tf.round(mean), images, signs, level)


def _brightness(images: tf.Tensor, signs: tf.Tensor, level: float) -> tf.Tensor:
    return _away(0.0, images, signs, level)


def _sharpness(images: tf.Tensor, signs: tf.Tensor, level: float) -> tf.Tensor:
    """Away from the image smoothed by (1 1 1, 1 5 1, 1 1 1) / 13, but for its border."""
    _, height, width, _ = images.shape
    smooth = tf.nn.avg_pool2d(images, 3, 1, "SAME") * (9 / 13) + images * (4 / 13)
    inner = np.zeros((1, height, width, 1), bool)
    inner[:, 1:-1, 1:-1] = True
    return _away(tf.where(inner, tf.round(smooth), images), images, signs, level)


#: Operations that are a function each; images that share one go through it together.
_ALONE: dict[str, _Operation] = {
    "identity": _identity,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "solarize": _solarize,
    "posterize": _posterize,
    "colour": _colour,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
}
#: Those that move pixels, all by one transform.
_MOVING = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
#: All fourteen; an operation is a place here.
NAMES = (*_ALONE, *_MOVING)


def _transforms(height: int, width: int, level: float) -> np.ndarray:
    """(2 len(_MOVING), 8) float32, as `projected` takes them: each operation, and its opposite."""
    x, y, rows = (width - 1) / 2, (height - 1) / 2, []
    for name in _MOVING:
        for sign in (1, -1):
            share = sign * level
            angle = math.radians(_DEGREES * share)
            sine, cosine = math.sin(angle), math.cos(angle)
            rows.append({
                "rotate": (cosine, -sine, x - cosine * x + sine * y,
                           sine, cosine, y - sine * x - cosine * y),
                # From the corner of the first pixel, not from its middle.
                "shear_x": (1, _SHEAR * share, 0.5 * _SHEAR * share, 0, 1, 0),
                "shear_y": (1, 0, 0, _SHEAR * share, 1, 0.5 * _SHEAR * share),
                "translate_x": (1, 0, _SHIFT * share * width, 0, 1, 0),
                "translate_y": (1, 0, 0, 0, 1, _SHIFT * share * height),
            }[name] + (0, 0))  # fmt: skip
    return np.array(rows, np.float32)


def _away(base: tf.Tensor | float, images: tf.Tensor, signs: tf.Tensor, level: float) -> tf.Tensor:
    """From `base`, by the factor of the level; `PIL.ImageEnhance` in a line."""
    factor = (
        1.0 + _FACTOR * level * tf.cast(signs, tf.float32)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    )
    return tf.clip_by_value(tf.round(base + (images - base) * factor), 0.0, 255.0)


def _grey(images: tf.Tensor) -> tf.Tensor:
    if images.shape[-1] != 3:
        return images
    red, green, blue = tf.split(
        images, 3, axis=-1
    )  # a sum over so short an axis takes twice as long
    return red * _LUMINANCE[0] + green * _LUMINANCE[1] + blue * _LUMINANCE[2]
