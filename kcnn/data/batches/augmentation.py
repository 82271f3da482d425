"""Augmentation of whole batches: pure functions of (images, seed).

Every function takes a stateless seed, two integers, and returns the same bits for the same
arguments. Nothing loops over images; TensorFlow's Philox generator is named, so that machines
agree.

Sources: pad-and-crop and flip, He et al. 2016 (arXiv 1512.03385), section 4.2; mixup, Zhang et
al. 2018 (arXiv 1710.09412), equation 1; CutMix, Yun et al. 2019 (arXiv 1905.04899), equations 1
and 2. Both papers' code draws one mixing weight per batch; here each image has its own, which
is what the equations say.
"""

from __future__ import annotations

from kcnn.data.batches import windows
from kcnn.startup import tf

_ALG = "philox"


def crop(
    images: tf.Tensor, height: int, width: int, seed: tf.Tensor, flip: bool = False
) -> tf.Tensor:
    """Cut a random window out of each image, all places equally likely.

    Args:
        images: (B, H, W, C), uint8 or float32, H >= height and W >= width.
        height: rows of the window.
        width: columns of the window.
        seed: (2,) integers.
        flip: mirror each window left to right with probability one half.

    Returns:
        (B, height, width, C), the dtype of `images`.
    """
    batch, rows, columns, _ = _sizes(images)
    down, across = rows - height + 1, columns - width + 1
    # One draw tells all three: each place is a number, and each number has a mirror image.
    place = tf.random.stateless_uniform(
        (batch,), seed, 0, down * across * (2 if flip else 1), tf.int64, alg=_ALG
    )
    top, left, mirrored = place // across % down, place % across, place // (down * across)
    return windows.cut(images, top, left, mirrored, (height, width))


def pad_crop(images: tf.Tensor, padding: int, seed: tf.Tensor, flip: bool = False) -> tf.Tensor:
    """Pad each side with `padding` zeros, then `crop` to the first size.

    Args:
        images: (B, H, W, C), uint8 or float32.
        padding: pixels per side; He et al. take 4 at 32×32.
        seed: (2,) integers.
        flip: as for `crop`.

    Returns:
        (B, H, W, C), the dtype of `images`.
    """
    _, height, width, _ = _sizes(images)
    return crop(windows.padded(images, padding), height, width, seed, flip)


def flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirror each image left to right with probability one half; (B, H, W, C) to the same."""
    _, height, width, _ = _sizes(images)
    return crop(images, height, width, seed, flip=True)


def colour(images: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Change brightness, contrast and saturation of each image, in that order.

    Brightness multiplies values; contrast moves them from the image's mean; saturation, of three
    channels, from the pixel's own luminance (ITU-R 601). Each factor is drawn evenly from
    1 - share to 1 + share.

    Args:
        images: (B, H, W, C), uint8 or float32.
        share: in (0, 1).
        seed: (2,) integers.

    Returns:
        The shape and the dtype of `images`; bytes are rounded and stay within 0 to 255.
    """
    batch, _, _, channels = _sizes(images)
    factors = tf.random.stateless_uniform((3, batch, 1, 1, 1), seed, 1 - share, 1 + share, alg=_ALG)
    x = tf.cast(images, tf.float32) * factors[0]
    mean = tf.reduce_mean(x, axis=(1, 2, 3), keepdims=True)
    x = mean + (x - mean) * factors[1]
    if channels == 3:
        grey = tf.reduce_sum(x * [0.299, 0.587, 0.114], axis=-1, keepdims=True)
        x = grey + (x - grey) * factors[2]
    if images.dtype == tf.uint8:
        x = tf.clip_by_value(tf.round(x), 0.0, 255.0)
    return tf.cast(x, images.dtype)


def mixup(
    images: tf.Tensor, labels: tf.Tensor, alpha: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend each image, and its label, with another of the batch.

    Args:
        images: (B, H, W, C), uint8 or float32.
        labels: (B, K) float32, one-hot or already soft.
        alpha: above 0; the weight of the image itself is drawn from Beta(alpha, alpha).
        seed: (2,) integers.

    Returns:
        float32 images and labels of the same shapes.
    """
    seeds = _split(seed, 2)
    weight = _beta(alpha, tf.shape(images)[0], seeds[0])  # (B,)
    other = _partners(images, seeds[1])
    images = tf.cast(images, tf.float32)
    share = weight[:, tf.newaxis, tf.newaxis, tf.newaxis]
    mixed = share * images + (1.0 - share) * tf.gather(images, other)
    return mixed, _mix_labels(labels, weight, other)


def cutmix(
    images: tf.Tensor, labels: tf.Tensor, alpha: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Paste a random rectangle of another image of the batch; mix labels by area.

    The rectangle's sides are sqrt(1 - weight) of the image's, the weight drawn from
    Beta(alpha, alpha); its centre is any pixel, and what leaves the image is cut off. Labels are
    mixed by the exact area that was pasted.

    Args:
        images: (B, H, W, C) of any dtype.
        labels: (B, K) float32, one-hot or already soft.
        alpha: above 0.
        seed: (2,) integers.

    Returns:
        Images and labels of the same shapes and dtypes.
    """
    batch, height, width, _ = _sizes(images)
    seeds = _split(seed, 3)
    side = tf.sqrt(1.0 - _beta(alpha, batch, seeds[0]))  # (B,)
    y, x = _offsets(seeds[1], batch, height - 1, width - 1)
    rows, row_count = _interval(y, side, height)  # (B, H), (B,)
    columns, column_count = _interval(x, side, width)  # (B, W), (B,)
    other = _partners(images, seeds[2])
    inside = (rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :])[..., tf.newaxis]
    pasted = tf.where(inside, _gather(images, other), images)
    # A product: a quotient by a constant is rounded differently once a graph is optimised.
    area = tf.cast(row_count * column_count, tf.float32) * (1.0 / (height * width))
    return pasted, _mix_labels(labels, 1.0 - area, other)


def mixup_or_cutmix(
    images: tf.Tensor, labels: tf.Tensor, alphas: tuple[float, float], seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """One of the two for the whole batch, each with probability one half.

    Args: as `mixup`; `alphas` are those of mixup and of CutMix. Returns float32.
    """
    seeds = _split(seed, 2)
    images = tf.cast(images, tf.float32)
    coin = tf.random.stateless_uniform((), seeds[0], alg=_ALG)
    return tf.cond(
        coin < 0.5,
        lambda: mixup(images, labels, alphas[0], seeds[1]),
        lambda: cutmix(images, labels, alphas[1], seeds[1]),
    )


def _sizes(images: tf.Tensor) -> tuple[tf.Tensor, int, int, int]:
    """B as a tensor (the last batch may be smaller), and the static H, W, C."""
    return tf.shape(images)[0], *images.shape[1:]


def _split(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    return tf.unstack(tf.random.split(seed, num=count, alg=_ALG))


def _offsets(
    seed: tf.Tensor, batch: tf.Tensor, highest_row: int, highest_column: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """For each image a row in 0..highest_row and a column in 0..highest_column, (B,) int32."""
    row, column = (
        tf.random.stateless_uniform((batch,), part, 0, highest + 1, tf.int32, alg=_ALG)
        for part, highest in zip(_split(seed, 2), (highest_row, highest_column), strict=True)
    )
    return row, column


def _beta(alpha: float, batch: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """(B,) float32 draws of Beta(alpha, alpha), as X / (X + Y) of two gammas.

    In float64: for a small alpha both gammas underflow float32, and 0 / 0 would be NaN.
    """
    gammas = tf.random.stateless_gamma((2, batch), seed, alpha, dtype=tf.float64)
    return tf.cast(tf.math.divide_no_nan(gammas[0], gammas[0] + gammas[1]), tf.float32)


def _partners(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A random permutation of the batch, (B,): with whom each image is mixed."""
    keys = tf.random.stateless_uniform(tf.shape(images)[:1], seed, alg=_ALG)
    return tf.argsort(keys, stable=True)


def _gather(images: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """`tf.gather`, which has no kernel for bytes on a GPU; float16 holds them exactly."""
    if images.dtype == tf.uint8 and "GPU" in images.device:
        return tf.cast(tf.gather(tf.cast(images, tf.float16), other), tf.uint8)
    return tf.gather(images, other)


def _interval(centre: tf.Tensor, side: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Which of `size` places are within side * size around each centre: (B, size), and how many."""
    length = tf.cast(tf.round(side * size), tf.int32)
    first = tf.maximum(centre - length // 2, 0)
    end = tf.minimum(centre - length // 2 + length, size)
    places = tf.range(size)
    return (places >= first[:, tf.newaxis]) & (places < end[:, tf.newaxis]), end - first


def _mix_labels(labels: tf.Tensor, weight: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    weight = weight[:, tf.newaxis]
    return weight * labels + (1.0 - weight) * tf.gather(labels, other)
