"""Which images each training step takes: a pure function of (seed, step).

An epoch's order is the argsort of one stateless uniform draw. `tf.random.experimental.
index_shuffle` would need no memory, but in TensorFlow 2.21 it reads 8 bits of each seed: epochs
0 and 256 had the same order, and positions were far from uniform (chi² 8 times its mean).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from kcnn.startup import tf

# Stateless seeds are pairs (seed, number), which TensorFlow scrambles. Epoch e takes the number
# 3e for its order; step s 3s + 1 for its windows and mirrors, and 3s + 2 for its mixing.
_STREAMS = 3

_AHEAD = 16  # steps, each a few numbers, that are ready before they are asked for


def as_written(function: Callable) -> Callable:
    """Trace a mapped function without AutoGraph: its branches are on Python values only."""
    return tf.autograph.experimental.do_not_convert(function)


def plain_options() -> tf.data.Options:
    """In order, and without autotune, which can hold the end of `fit` for half a second."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.deterministic = True
    return options


def steps_per_epoch(size: int, batch_size: int) -> int:
    """ceil(size / batch_size): every image once per epoch, the last batch may be smaller."""
    return -(-size // batch_size)


def epoch_order(size: int | tf.Tensor, seed: int | tf.Tensor, epoch: int | tf.Tensor) -> tf.Tensor:
    """The order in which an epoch visits the images: a permutation of 0..size-1, (size,) int64."""
    return _shuffled(_keys((size,), seed, epoch))


def balanced_order(classes: tf.Tensor, seed: int | tf.Tensor, epoch: int | tf.Tensor) -> tf.Tensor:
    """The order in which an epoch visits images so that all classes are seen equally often.

    An epoch has N places, N / K for each of K classes. Where that is no whole number, classes take
    turns at the places that are left: over epochs, too, no class is more than one place ahead. A
    class with fewer images than places gives each of them as often as the others, or once more;
    one with more images gives a random part of them, another at each epoch.

    Args:
        classes: (N,) int64, the class of each image: 0..K-1, each of which occurs.
        seed: any integer.
        epoch: from 0.

    Returns:
        (N,) int64, indices of images.
    """
    size = tf.size(classes, tf.int64)
    keys = _keys((2, size), seed, epoch)
    order = _shuffled(keys[0])
    grouped = tf.gather(order, tf.argsort(tf.gather(classes, order), stable=True))
    counts = tf.math.bincount(tf.cast(classes, tf.int32), dtype=tf.int64)
    kinds, draws = tf.size(counts, tf.int64), tf.range(size)
    drawn = (tf.cast(epoch, tf.int64) * size + draws) % kinds  # the class of each draw
    rank = draws // kinds % tf.gather(counts, drawn)  # which of its images
    images = tf.gather(grouped, tf.gather(tf.cumsum(counts, exclusive=True), drawn) + rank)
    return tf.gather(images, _shuffled(keys[1]))


def _keys(shape: tuple, seed: int | tf.Tensor, epoch: int | tf.Tensor) -> tf.Tensor:
    if isinstance(seed, int):
        seed %= 2**63
    key = tf.stack([tf.cast(seed, tf.int64), _STREAMS * tf.cast(epoch, tf.int64)])
    return tf.random.stateless_uniform(
        shape, key, minval=None, maxval=None, dtype=tf.int64, alg="philox"
    )


def _shuffled(keys: tf.Tensor) -> tf.Tensor:
    """The order of random keys, (N,) int64 to the same."""
    return tf.math.top_k(keys, tf.size(keys), index_type=tf.int64).indices


def training_steps(
    size: int,
    batch_size: int,
    seed: int,
    start: int,
    stop: int | None,
    labels: np.ndarray | None = None,
) -> tf.data.Dataset:
    """The steps `start` to `stop` (None: endless), without images.

    The next epoch's order is computed while an epoch runs. With labels (size,), class numbers,
    all classes that occur are seen equally often.

    Returns:
        A dataset of {"indices": (B,) int64, the images of the step; "seed": (2,) int64, of its
        augmentation (and, plus [0, 1], of its mixing)}.
    """
    count = -1 if stop is None else stop - start  # tf.data's -1: without end
    numbers = (size, batch_size, seed % 2**63, start, count)
    with tf.device("CPU:0"):
        given = [tf.constant(number, tf.int64) for number in numbers]
        if labels is not None:  # numbered without holes
            given.append(tf.constant(np.unique(labels, return_inverse=True)[1], tf.int64))
        return _traced_steps()(*given)


@functools.cache
def _traced_steps() -> Callable[..., tf.data.Dataset]:
    """`_steps` in a trace that all trainings share: its numbers are data, not constants."""
    return tf.function(_steps, autograph=False, reduce_retracing=True)


def _steps(
    size: tf.Tensor,
    batch_size: tf.Tensor,
    seed: tf.Tensor,
    start: tf.Tensor,
    count: tf.Tensor,
    classes: tf.Tensor | None = None,
) -> tf.data.Dataset:
    full = size // batch_size  # batches of an epoch that are not smaller
    per_epoch = full + tf.cast(size % batch_size > 0, tf.int64)

    @as_written
    def order(epoch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if classes is None:
            return epoch, epoch_order(size, seed, epoch)
        return epoch, balanced_order(classes, seed, epoch)

    @as_written
    def one_epoch(epoch: tf.Tensor, order: tf.Tensor) -> tf.data.Dataset:
        steps = epoch * per_epoch + tf.range(per_epoch)
        seeds = tf.stack([tf.fill([per_epoch], seed), _STREAMS * steps + 1], axis=1)
        whole = tf.reshape(order[: full * batch_size], (full, batch_size))
        rest = {"indices": order[full * batch_size :], "seed": seeds[-1]}
        batches = tf.data.Dataset.from_tensor_slices({"indices": whole, "seed": seeds[:full]})
        return batches.concatenate(tf.data.Dataset.from_tensors(rest).take(per_epoch - full))

    orders = tf.data.Dataset.range(start // per_epoch, tf.int64.max).map(order).prefetch(1)
    steps = orders.flat_map(one_epoch).skip(start % per_epoch).take(count)
    steps = steps.apply(tf.data.experimental.assert_cardinality(count))
    return steps.prefetch(_AHEAD).with_options(plain_options())
