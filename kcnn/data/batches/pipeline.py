"""Batches for training and evaluation, as `tf.data`; and the statistics of a split.

Batch k of a training run is a pure function of (seed, k): the order of an epoch follows from
(seed, epoch), augmentation from (seed, k). So a run that starts at step k sees the bits that a
run from the beginning sees there, and no state of the pipeline has to be saved.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kcnn.data.batches.batch import traced
from kcnn.data.batches.checks import check_split
from kcnn.data.batches.feed import PARALLEL_BATCHES, Feed, training_feed
from kcnn.data.batches.fetch import source
from kcnn.data.batches.order import as_written, plain_options, steps_per_epoch
from kcnn.data.batches.targets import Targets, targets_of
from kcnn.data.sets.splits import Split
from kcnn.errors import InputError
from kcnn.graph.photographs import middle
from kcnn.startup import tf

__all__ = [
    "evaluation_batches",
    "feed_batches",
    "statistics",
    "steps_per_epoch",
    "training_batches",
]

_CHUNK = 256  # images that `statistics` holds at once


def training_batches(
    split: Split,
    batch_size: int,
    *,
    classes: int | None = None,
    targets: Targets | None = None,
    seed: int,
    augment: Any = "none",
    mixup: float = 0.0,
    cutmix: float = 0.0,
    binary: bool = False,
    image_size: tuple[int, int] | None = None,
    start: int = 0,
    stop: int | None = None,
    balanced: bool = False,
    cache: str | os.PathLike | None = None,
) -> tf.data.Dataset:
    """Shuffled, augmented batches of the steps `start` to `stop`, counted over all epochs.

    Args: as `kcnn.data.training_feed`, whose batches these are.

    Returns:
        A dataset of (images, labels): (B, H, W, C) in the stored dtype (uint8 or float32;
        float32 with mixup), and (B, K) or (B, 1) float32; of a split with weights (images,
        labels, weights), weights (B,) float32.

    Raises:
        InputError: as `training_feed`.
    """
    feed = training_feed(
        split,
        batch_size,
        classes=classes,
        targets=targets,
        seed=seed,
        augment=augment,
        mixup=mixup,
        cutmix=cutmix,
        binary=binary,
        image_size=image_size,
        start=start,
        stop=stop,
        balanced=balanced,
        cache=cache,
        device="CPU:0",  # where tf.data runs: on a GPU every batch would be copied back
    )
    return feed_batches(feed)


def feed_batches(feed: Feed, count: int | None = None) -> tf.data.Dataset:
    """The batches of a feed, the first `count` of them, as a dataset."""
    batch, steps = traced(feed.batch), feed.steps if count is None else feed.steps.take(count)
    return _mapped(steps, lambda element: batch(element, feed.resident))


def evaluation_batches(
    split: Split,
    batch_size: int,
    *,
    classes: int | None = None,
    targets: Targets | None = None,
    binary: bool = False,
    image_size: tuple[int, int] | None = None,
    scale: float = 1.0,
    cache: str | os.PathLike | None = None,
) -> tf.data.Dataset:
    """All images once, in stored order, without augmentation; arguments as `training_batches`.

    A batch size above the number of images gives one batch. Files are fit to `scale` times
    `image_size`, of which the middle is used.
    """
    made = targets_of(split, classes, binary, targets)
    check_split(split, batch_size)
    images, size = source(split.images, image_size, scale, cache), len(split)
    height, width = image_size or images.shape[:2]
    top, left = middle(images.shape[:2], height, width)
    with tf.device("CPU:0"):
        labels = tf.convert_to_tensor(split.labels)
        held = None if images.array is None else images.tensor()

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        first, end = step * batch_size, tf.minimum((step + 1) * batch_size, size)
        pixels = images.fetch(tf.range(first, end)) if held is None else held[first:end]
        return pixels[:, top : top + height, left : left + width], made(labels[first:end])

    return _mapped(tf.data.Dataset.range(steps_per_epoch(size, batch_size)), batch)


def statistics(
    split: Split,
    image_size: tuple[int, int] | None = None,
    limit: int = 5000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance per channel over a split, for input normalisation.

    Computed in float64, chunk by chunk (Chan, Golub, LeVeque 1979, equation 2.1), over every
    pixel of arrays. Of more than `limit` image files, a fixed sample of `limit` is read.

    Args:
        split: the training split; statistics of any other leak.
        image_size: (H, W) to which image files are fit.
        limit: image files read at most.
        seed: of that sample, at least 0.

    Returns:
        mean (C,) and variance (C,), float32. The variance is the population's (divided by the
        count); a channel that never varies gets variance 1, so that it is only shifted.

    Raises:
        InputError: an empty split, or files without `image_size`.
    """
    if not len(split):
        raise InputError("The split holds no images: there is nothing to take statistics of.")
    indices = np.arange(len(split))
    if split.is_files and len(split) > limit:
        indices = np.sort(np.random.default_rng(seed).choice(len(split), limit, replace=False))
    read = source(split.images, image_size).read
    return moments(
        read(indices[first : first + _CHUNK]) for first in range(0, len(indices), _CHUNK)
    )


def moments(chunks: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (C,) float32 of the pixels of (..., C) arrays, as `statistics` says."""
    count, mean = 0, np.zeros(1)
    squares = np.zeros(1)  # the sum of squared deviations from the mean
    for chunk in chunks:
        pixels = chunk.astype(np.float64).reshape(-1, chunk.shape[-1])  # (B * H * W, C)
        n, centre = len(pixels), pixels.mean(axis=0)
        shift, total = centre - mean, count + n
        squares = squares + ((pixels - centre) ** 2).sum(axis=0) + shift**2 * (count * n / total)
        mean, count = mean + shift * (n / total), total
    variance = squares / count
    return mean.astype(np.float32), np.where(variance > 0, variance, 1.0).astype(np.float32)


def _mapped(steps: tf.data.Dataset, batch: Callable) -> tf.data.Dataset:
    made = steps.map(as_written(batch), num_parallel_calls=PARALLEL_BATCHES, deterministic=True)
    return made.prefetch(PARALLEL_BATCHES).with_options(plain_options())
