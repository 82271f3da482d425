"""Batches for training and evaluation, as `tf.data`; and the statistics of a split.

Batch k of a training run is a pure function of (seed, k): the order of an epoch follows from
(seed, epoch), augmentation from (seed, k). So a run that starts at step k sees the bits that a
run from the beginning sees there, and no state of the pipeline has to be saved.
"""

from __future__ import annotations

import numpy as np

from kcnn.data import augmentation
from kcnn.data.fetch import fetcher, label_fetcher, reader
from kcnn.data.images import ImageFiles
from kcnn.data.order import AUGMENT, as_written, steps_per_epoch, stream, training_steps
from kcnn.data.splits import Split
from kcnn.errors import InputError
from kcnn.startup import tf

__all__ = ["evaluation_batches", "statistics", "steps_per_epoch", "training_batches"]

AUGMENTATIONS = ("none", "flip", "crop", "crop-flip")

PADDING = 4  # He et al. 2016, section 4.2, for 32×32
MARGIN = 1.15  # a photograph is fit to this times the input, then cropped: 256 / 224 = 1.14

_PARALLEL_BATCHES = 2
_CHUNK = 256  # images that `statistics` holds at once


def training_batches(
    split: Split,
    batch_size: int,
    *,
    classes: int,
    seed: int,
    augment: str = "none",
    mixup: float = 0.0,
    cutmix: float = 0.0,
    binary: bool = False,
    image_size: tuple[int, int] | None = None,
    start: int = 0,
    stop: int | None = None,
) -> tf.data.Dataset:
    """Shuffled, augmented batches of the steps `start` to `stop`, counted over all epochs.

    Args:
        split: the training split.
        batch_size: at most the number of images.
        classes: K, above every label.
        seed: of order and augmentation, any integer.
        augment: `none`, `flip`, `crop` (arrays: pad by 4 and crop; files: fit to 1.15 times
            `image_size` and crop) or `crop-flip`.
        mixup: alpha of Zhang et al. 2018; 0 is off.
        cutmix: alpha of Yun et al. 2019; 0 is off. With both on, each batch takes one of the two.
        binary: labels of shape (B, 1) for a single sigmoid; needs K = 2.
        image_size: (H, W) to which image files are fit; arrays keep their size.
        start: the first step, at least 0; epoch = step // steps_per_epoch.
        stop: the step after the last; None is endless.

    Returns:
        A dataset of (images, labels): (B, H, W, C) in the stored dtype (uint8 or float32;
        float32 with mixup), and (B, K) or (B, 1) float32.

    Raises:
        InputError: an argument out of its range, or a batch larger than the data.
    """
    _check_split(split, batch_size, classes, binary)
    _check_training(split, batch_size, augment, mixup, cutmix, start, stop)
    crops, flips = augment.startswith("crop"), augment.endswith("flip")
    fetch = fetcher(split.images, image_size, MARGIN if crops else 1.0)
    target = label_fetcher(split.labels, classes, binary)
    base = stream(seed, AUGMENT)

    @as_written
    def batch(step: tf.Tensor, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = fetch(indices), target(indices)
        seeds = tf.unstack(tf.random.split(tf.random.fold_in(base, step), num=3))
        flip_seed = seeds[1] if flips else None
        if crops and isinstance(split.images, ImageFiles):
            images = augmentation.crop(images, *image_size, seeds[0], flip_seed)
        elif crops:
            images = augmentation.pad_crop(images, PADDING, seeds[0], flip_seed)
        elif flips:
            images = augmentation.flip(images, flip_seed)
        return _mixed(images, labels, mixup, cutmix, seeds[2])

    steps = training_steps(len(split), batch_size, seed, start, stop)
    return _finished(steps.map(batch, num_parallel_calls=_PARALLEL_BATCHES, deterministic=True))


def evaluation_batches(
    split: Split,
    batch_size: int,
    *,
    classes: int,
    binary: bool = False,
    image_size: tuple[int, int] | None = None,
) -> tf.data.Dataset:
    """All images once, in stored order, without augmentation; arguments as `training_batches`.

    A batch size above the number of images gives one batch.
    """
    _check_split(split, batch_size, classes, binary)
    fetch = fetcher(split.images, image_size, 1.0)
    target = label_fetcher(split.labels, classes, binary)
    size = len(split)

    @as_written
    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        indices = tf.range(step * batch_size, tf.minimum((step + 1) * batch_size, size))
        return fetch(indices), target(indices)

    steps = tf.data.Dataset.range(steps_per_epoch(size, batch_size))
    return _finished(steps.map(batch, num_parallel_calls=_PARALLEL_BATCHES, deterministic=True))


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
    if isinstance(split.images, ImageFiles) and len(split) > limit:
        indices = np.sort(np.random.default_rng(seed).choice(len(split), limit, replace=False))
    read = reader(split.images, image_size, 1.0)
    count, mean, squares = 0, 0.0, 0.0  # squares: the sum of squared deviations from the mean
    for first in range(0, len(indices), _CHUNK):
        pixels = read(indices[first : first + _CHUNK]).astype(np.float64)
        pixels = pixels.reshape(-1, pixels.shape[-1])  # (B * H * W, C)
        n, centre = len(pixels), pixels.mean(axis=0)
        shift, total = centre - mean, count + n
        squares = squares + ((pixels - centre) ** 2).sum(axis=0) + shift**2 * (count * n / total)
        mean, count = mean + shift * (n / total), total
    variance = squares / count
    return mean.astype(np.float32), np.where(variance > 0, variance, 1.0).astype(np.float32)


def _mixed(
    images: tf.Tensor, labels: tf.Tensor, mixup: float, cutmix: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    if mixup and cutmix:
        return augmentation.mixup_or_cutmix(images, labels, (mixup, cutmix), seed)
    if mixup:
        return augmentation.mixup(images, labels, mixup, seed)
    if cutmix:
        return augmentation.cutmix(images, labels, cutmix, seed)
    return images, labels


def _finished(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.autotune.enabled = False  # it can hold the end of `fit` for half a second
    options.deterministic = True
    return dataset.prefetch(2).with_options(options)


def _check_split(split: Split, batch_size: int, classes: int, binary: bool) -> None:
    if not len(split):
        raise InputError("The split holds no images: there are no batches to make of it.")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
        raise InputError(f"batch_size is {batch_size!r}. It must be a whole number.")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}. It must be at least 1.")
    if split.labels.max() >= classes:
        raise InputError(
            f"The split has the label {split.labels.max()}, but classes is {classes}: labels are "
            f"0..{classes - 1}."
        )
    if binary and classes != 2:
        raise InputError(f"A binary target needs classes=2. Received: classes={classes}.")


def _check_training(
    split: Split,
    batch_size: int,
    augment: str,
    mixup: float,
    cutmix: float,
    start: int,
    stop: int | None,
) -> None:
    if batch_size > len(split):
        raise InputError(
            f"batch_size is {batch_size}, but there are {len(split)} training images. Choose a "
            f"batch size of at most {len(split)}."
        )
    if augment not in AUGMENTATIONS:
        raise InputError(f"augment is {augment!r}. Allowed: {', '.join(map(repr, AUGMENTATIONS))}.")
    for name, alpha in {"mixup": mixup, "cutmix": cutmix}.items():
        if not (np.isfinite(alpha) and alpha >= 0):
            raise InputError(
                f"{name} is {alpha}. It is the alpha of Beta(alpha, alpha): above 0, often 0.2 "
                "for mixup and 1.0 for CutMix; 0 turns it off."
            )
    if start < 0 or (stop is not None and stop < start):
        raise InputError(
            f"Steps from {start} to {stop}: start must be at least 0, stop at least start."
        )
