"""Which images each training step takes: a pure function of (seed, step).

An epoch's order is the argsort of one stateless uniform draw. `tf.random.experimental.
index_shuffle` would need no memory, but in TensorFlow 2.21 it reads 8 bits of each seed: epochs
0 and 256 had the same order, and positions were far from uniform (chi² 8 times its mean).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

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
    if isinstance(seed, int):
        seed %= 2**63
    key = tf.stack([tf.cast(seed, tf.int64), _STREAMS * tf.cast(epoch, tf.int64)])
    keys = tf.random.stateless_uniform(
        (size,), key, minval=None, maxval=None, dtype=tf.int64, alg="philox"
    )
    return tf.math.top_k(keys, tf.cast(size, tf.int32), index_type=tf.int64).indices


def training_steps(
    size: int, batch_size: int, seed: int, start: int, stop: int | None
) -> tf.data.Dataset:
    """The steps `start` to `stop` (None: endless), without images.

    The next epoch's order is computed while an epoch runs.

    Returns:
        A dataset of {"indices": (B,) int64, the images of the step; "seed": (2,) int64, of its
        augmentation (and, plus [0, 1], of its mixing)}.
    """
    count = -1 if stop is None else stop - start  # tf.data's -1: without end
    numbers = (size, batch_size, seed % 2**63, start, count)
    with tf.device("CPU:0"):
        return _traced_steps()(*(tf.constant(number, tf.int64) for number in numbers))


@functools.cache
def _traced_steps() -> Callable[..., tf.data.Dataset]:
    """`_steps` in a trace that all trainings share: its numbers are data, not constants."""
    return tf.function(_steps, autograph=False)


def _steps(
    size: tf.Tensor, batch_size: tf.Tensor, seed: tf.Tensor, start: tf.Tensor, count: tf.Tensor
) -> tf.data.Dataset:
    full = size // batch_size  # batches of an epoch that are not smaller
    per_epoch = full + tf.cast(size % batch_size > 0, tf.int64)

    @as_written
    def order(epoch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return epoch, epoch_order(size, seed, epoch)

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
