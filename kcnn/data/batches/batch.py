"""One batch of a training, as a pure function of an element of its feed and the resident data.

Everything that varies between trainings of one kind comes in through the arguments, so that a
trace of the function serves them all.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kcnn.data.batches import augmentation, bending, randaugment
from kcnn.data.batches.targets import Targets
from kcnn.recipes.augmentations import Augmentations
from kcnn.startup import tf

Element = dict[str, Any]
Batch = Callable[[Element, tuple], tuple]

PADDING = 4  # He et al. 2016, section 4.2, for 32×32


@dataclass(frozen=True)
class BatchSpec:
    """All that a batch depends on besides element and resident data."""

    device: str
    resident: bool  # images are gathered, not brought by the element
    shape: tuple[int, int, int]  # (H, W, C) as stored or read
    dtype: str
    size: tuple[int, int] | None  # of the windows cut out of larger images; None pads instead
    changes: Augmentations  # crop and flip are others' where images come as windows
    mixup: float
    cutmix: float
    targets: Targets
    colour: float = 0.0
    weighted: bool = False  # images have weights, which stand behind the targets


@functools.cache
def batch_function(spec: BatchSpec) -> Batch:
    """The function `Feed.batch`: the same object for the same spec."""

    def batch(element: Element, resident: tuple) -> tuple[tf.Tensor, ...]:
        with tf.device(spec.device):
            if spec.resident:
                images, labels, *weights = _gathered(spec, resident, element["indices"])
            else:
                images, labels = tf.identity(element["images"]), element["labels"]  # on `device`
                weights = [element["weights"]] if spec.weighted else []
            images = _augmented(spec, images, element["seed"])
            labels = spec.targets(labels)
            if not weights:
                return _mixed(spec, images, labels, element["seed"] + [0, 1])
            return _mixed_weighted(spec, images, labels, weights[0], element["seed"] + [0, 1])

    return batch


@functools.cache
def traced(batch: Batch) -> Batch:
    """`batch` as a `tf.function`, so that the datasets that map it share one trace."""
    return tf.function(batch, autograph=False, reduce_retracing=True)


def _gathered(
    spec: BatchSpec, resident: tuple[tf.Tensor, ...], indices: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    images, *known = (tf.gather(part, indices) for part in resident)
    return (images if images.dtype == spec.dtype else _unpacked(spec, images)), *known


def _unpacked(spec: BatchSpec, words: tf.Tensor) -> tf.Tensor:
    values = tf.bitcast(words, spec.dtype)  # (B, words, values in a word)
    values = tf.reshape(values, (-1, values.shape[1] * values.shape[2]))
    return tf.reshape(values[:, : math.prod(spec.shape)], (-1, *spec.shape))


def _augmented(spec: BatchSpec, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """All that `spec` says of images alone: each has a stream of its own, as mixing has."""
    changes = spec.changes
    images = _placed(spec, images, seed)
    if changes.rotation or changes.zoom:
        images = bending.turn(images, changes.rotation, changes.zoom, tf.add(seed, [2, 0]))
    if spec.colour:
        images = augmentation.colour(images, spec.colour, tf.add(seed, [1, 0]))
    if changes.randaugment:
        count, magnitude = changes.randaugment
        images = randaugment.rand_augment(images, count, magnitude, tf.add(seed, [3, 0]))
    if changes.erasing:
        images = bending.erase(images, changes.erasing, tf.add(seed, [4, 0]))
    return images


def _placed(spec: BatchSpec, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    crops, flips = spec.changes.crop, spec.changes.flip
    if crops and spec.size is not None:
        return augmentation.crop(images, *spec.size, seed, flips)
    if crops:
        return augmentation.pad_crop(images, PADDING, seed, flips)
    if flips:
        return augmentation.flip(images, seed)
    return images


def _mixed(
    spec: BatchSpec, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    mixup, cutmix = spec.mixup, spec.cutmix
    if mixup and cutmix:
        return augmentation.mixup_or_cutmix(images, labels, (mixup, cutmix), seed)
    if mixup:
        return augmentation.mixup(images, labels, mixup, seed)
    if cutmix:
        return augmentation.cutmix(images, labels, cutmix, seed)
    return images, labels


def _mixed_weighted(
    spec: BatchSpec, images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """As `_mixed`, with weights (B,): of two images that are mixed each brings its own.

    The loss of a mixture is s w1 H(y1) + (1 - s) w2 H(y2), cross-entropy being linear in the
    target: that is the weight w = s w1 + (1 - s) w2 on the target (s w1 y1 + (1 - s) w2 y2) / w.
    """
    if not (spec.mixup or spec.cutmix):
        return images, labels, weights
    columns, weight = labels.shape[-1], weights[:, tf.newaxis]
    rows = tf.concat([labels * weight, labels, weight], axis=1)
    images, rows = _mixed(spec, images, rows, seed)
    weighed, plain, weight = rows[:, :columns], rows[:, columns:-1], rows[:, -1:]
    targets = tf.where(weight > 0, tf.math.divide_no_nan(weighed, weight), plain)
    return images, targets, weight[:, 0]
