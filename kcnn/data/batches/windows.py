"""One window out of each image of a batch, mirrored or not: exact copies, no interpolation.

On a processor, images that share a column are cut by one strided slice, and all mirrored windows
are turned by one reversal. Crop and flip of 128 images, 32×32×3, took 0.22 ms this way on two
cores (Zen 5), 0.42 ms as one gather of pixels, 1.3 ms as a projective transform. On a GPU, where
partitions would wait for the host and no kernel gathers bytes, it is the projective transform.
"""

from __future__ import annotations

from kcnn.startup import tf


def padded(images: tf.Tensor, padding: int) -> tf.Tensor:
    """Zeros on each side, (B, H + 2 padding, W + 2 padding, C): `tf.pad`, at half its time."""
    batch = tf.shape(images)[0]
    _, height, width, channels = images.shape
    across = (width + 2 * padding) * channels
    beside = tf.zeros((batch, height, padding * channels), images.dtype)
    above = tf.zeros((batch, padding, across), images.dtype)
    lines = tf.reshape(images, (batch, height, width * channels))
    lines = tf.concat([above, tf.concat([beside, lines, beside], axis=2), above], axis=1)
    return tf.reshape(lines, (batch, height + 2 * padding, width + 2 * padding, channels))


def cut(
    images: tf.Tensor,
    top: tf.Tensor,
    left: tf.Tensor,
    mirrored: tf.Tensor,
    size: tuple[int, int],
) -> tf.Tensor:
    """One window of each image, turned left to right where it is mirrored.

    Args:
        images: (B, H, W, C), uint8 or float32.
        top: the first row of each window, (B,) integers in 0..H - height.
        left: the first column, (B,) integers in 0..W - width.
        mirrored: (B,) integers, 0 or 1.
        size: (height, width) of the windows.

    Returns:
        (B, height, width, C), the dtype of `images`.
    """
    method = by_projection if "GPU" in images.device else by_slices
    windows = method(images, top, left, mirrored, size)
    return tf.ensure_shape(windows, (images.shape[0], *size, images.shape[3]))


def by_slices(
    images: tf.Tensor,
    top: tf.Tensor,
    left: tf.Tensor,
    mirrored: tf.Tensor,
    size: tuple[int, int],
) -> tf.Tensor:
    """`cut` for processors."""
    top, left, mirrored = (tf.cast(v, tf.int32) for v in (top, left, mirrored))
    (height, width), batch = size, tf.shape(images)[0]
    _, rows, columns, channels = images.shape
    places = columns - width + 1
    row = (tf.range(batch) * rows + top)[:, tf.newaxis] + tf.range(height)  # (B, height)
    lines = tf.gather(tf.reshape(images, (-1, columns, channels)), row)  # (B, height, W, C)
    group = left + places * mirrored
    members = tf.dynamic_partition(tf.range(batch), group, 2 * places)
    parts = tf.dynamic_partition(lines, group, 2 * places)
    windows = [
        tf.slice(part, [0, 0, number % places, 0], [-1, -1, width, -1])
        for number, part in enumerate(parts)
    ]
    # Of rank 3, TensorFlow reverses whole pixels.
    turned = tf.reshape(tf.concat(windows[places:], axis=0), (-1, width, channels))
    turned = tf.reshape(tf.reverse(turned, axis=[1]), (-1, height, width, channels))
    members = [*members[:places], tf.concat(members[places:], axis=0)]
    return tf.dynamic_stitch(members, [*windows[:places], turned])


def by_projection(
    images: tf.Tensor,
    top: tf.Tensor,
    left: tf.Tensor,
    mirrored: tf.Tensor,
    size: tuple[int, int],
) -> tf.Tensor:
    """`cut` for GPUs: column x of a window is column left + x, mirrored left + width - 1 - x."""
    top, left, mirrored = (tf.cast(v, tf.float32) for v in (top, left, mirrored))
    zero, one = tf.zeros_like(top), tf.ones_like(top)
    first = left + mirrored * (size[1] - 1)
    coefficients = [1.0 - 2.0 * mirrored, zero, first, zero, one, top, zero, zero]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack(coefficients, axis=1),
        output_shape=size,
        fill_value=0.0,
        interpolation="NEAREST",  # at whole coordinates: a copy
    )
