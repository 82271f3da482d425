"""Which images each training step takes: a pure function of (seed, step).

An epoch's order is the argsort of one stateless uniform draw. `tf.random.experimental.
index_shuffle` would need no memory, but in TensorFlow 2.21 it reads 8 bits of each seed: epochs
0 and 256 had the same order, and positions were far from uniform (chi² 8 times its mean).
"""

from __future__ import annotations

from collections.abc import Callable

from kcnn.startup import tf

ORDER, AUGMENT = 0, 1  # independent streams of random numbers under one seed


def as_written(function: Callable) -> Callable:
    """Trace a mapped function without AutoGraph: its branches are on Python values only."""
    return tf.autograph.experimental.do_not_convert(function)


def steps_per_epoch(size: int, batch_size: int) -> int:
    """ceil(size / batch_size): every image once per epoch, the last batch may be smaller."""
    return -(-size // batch_size)


def epoch_order(size: int, seed: int, epoch: int | tf.Tensor) -> tf.Tensor:
    """The order in which an epoch visits the images: a permutation of 0..size-1, (size,) int32."""
    folded = tf.random.fold_in(stream(seed, ORDER), tf.cast(epoch, tf.int64))
    keys = tf.random.stateless_uniform(
        (size,), folded, minval=None, maxval=None, dtype=tf.int64, alg="philox"
    )
    return tf.argsort(keys, stable=True)


def training_steps(
    size: int, batch_size: int, seed: int, start: int, stop: int | None
) -> tf.data.Dataset:
    """(step, indices of its images) from `start` on; an order is computed once per epoch."""
    per_epoch = steps_per_epoch(size, batch_size)

    @as_written
    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order = epoch_order(size, seed, epoch)

        @as_written
        def one_step(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            first = step * batch_size
            return epoch * per_epoch + step, order[first : first + batch_size]

        return tf.data.Dataset.range(per_epoch).map(one_step)

    steps = tf.data.Dataset.counter(start // per_epoch).flat_map(one_epoch).skip(start % per_epoch)
    if stop is None:
        return steps.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    count = stop - start
    return steps.take(count).apply(tf.data.experimental.assert_cardinality(count))


def stream(seed: int, number: int) -> tf.Tensor:
    """The stateless seed, (2,) int64, of one of the independent streams under a run's seed."""
    return tf.constant([seed % 2**63, number], dtype=tf.int64)
