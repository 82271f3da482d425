"""Batches of pictures with masks or boxes: random windows to train on, whole ones to evaluate.

Pictures are read, scaled and cut by threads of the host, one by one, so that they may be of any
size; nothing is held but the index. A training batch is a pure function of (seed, step).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kcnn.data.batches.batch import BatchSpec, batch_function
from kcnn.data.batches.checks import changes_of, check_split, check_training
from kcnn.data.batches.feed import PARALLEL_BATCHES, Feed
from kcnn.data.batches.fetch import in_python, pool
from kcnn.data.batches.order import as_written, plain_options, training_steps
from kcnn.data.batches.targets import Targets
from kcnn.data.batches.views import (
    Size,
    draws,
    middle_view,
    random_view,
    reduction,
    scaled_size,
    viewed,
)
from kcnn.data.sets.annotations import View
from kcnn.data.sets.decoding import decode
from kcnn.data.sets.images import ImageFiles
from kcnn.data.sets.splits import Split
from kcnn.data.sets.upright import upright_sizes
from kcnn.recipes.augmentations import refuse_bending
from kcnn.startup import tf


def read_picture(split: Split, index: int) -> np.ndarray:
    """A picture of a split as it is, upright: (H, W, C), uint8 or float32."""
    if split.files is None:
        return np.asarray(split.array[index])
    return decode(split.files[index])


def channels_of(split: Split) -> int:
    """Channels of the pictures; files are read in colour."""
    return 3 if split.is_files else int(split.array.shape[3])


def sizes_of(split: Split) -> np.ndarray:
    """(N, 2) int64: height and width of each picture, upright; of files by their headers.

    Raises:
        InputError: A file that cannot be read.
    """
    if split.files is None:
        return np.tile(np.array(split.array.shape[1:3], np.int64), (len(split), 1))
    return upright_sizes(split.files)


def usual_size(sizes: np.ndarray, longest_side: int | None = None) -> Size:
    """(H, W) of the middle one of the pictures, behind their scaling down.

    Args:
        sizes: (N, 2).
        longest_side: As `reduction` takes it.
    """
    found = [scaled_size((h, w), reduction((h, w), longest_side)) for h, w in sizes.tolist()]
    height, width = np.median(np.array(found), axis=0)
    return int(height), int(width)


def picture_feed(
    split: Split,
    batch_size: int,
    *,
    window: Size,
    targets: Targets,
    seed: int,
    augment: Any = "none",
    scale: float = 1.0,
    colour: float = 0.0,
    factor: Callable[[Size], float] = lambda source: 1.0,
    start: int = 0,
) -> Feed:
    """The feed of the steps from `start` on, without end.

    Args:
        split: Pictures with annotations.
        batch_size: At most the number of pictures.
        window: (H, W) that the network sees.
        targets: Behind `Annotations.target`, within the graph.
        seed: Of order and augmentation.
        augment: "none" is the middle; "crop" any place, scaled by a random factor; "flip" mirrors
            one half; "erasing=0.5" puts noise into rectangles, beneath which masks and boxes stay:
            what is there is to be told from what is around.
        scale: The largest of those factors; 1 / scale is the smallest.
        colour: As `augmentation.colour`.
        factor: By which a picture of a size is scaled, before.
        start: The first step.

    Raises:
        InputError: A batch larger than the split; an augmentation that would move pixels alone.
    """
    check_split(split, batch_size)
    check_training(split, batch_size, 0.0, 0.0, start, None)
    changes = changes_of(augment)
    refuse_bending(changes, "the split")

    def view(source: Size, seed: np.ndarray, place: int) -> View:
        numbers = draws(seed, place, 4)
        if changes.crop:
            return random_view(
                source, window, numbers, factor=factor(source), scale=scale, flip=changes.flip
            )
        mirrored = bool(changes.flip and numbers[3] < 0.5)
        return replace(middle_view(source, window, factor=factor(source)), mirrored=mirrored)

    shape, dtype = (*window, channels_of(split)), _dtype(split)
    steps = training_steps(len(split), batch_size, int(seed), start, None)
    steps = _reading(steps, split, view, shape, dtype)
    spec = BatchSpec(
        device="GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0",
        resident=False,
        shape=shape,
        dtype=dtype,
        size=None,
        changes=replace(changes, crop=False, flip=False),  # views have them
        mixup=0.0,
        cutmix=0.0,
        targets=targets,
        colour=float(colour),
    )
    return Feed(steps, (), batch_function(spec), (spec,), spec.device)


def picture_batches(
    split: Split,
    batch_size: int,
    *,
    view: Callable[[Size], View],
    sizes: np.ndarray,
    targets: Targets,
) -> tf.data.Dataset:
    """All pictures once, whole, in stored order; neighbours of one size share a batch.

    Args:
        split: Pictures with annotations.
        batch_size: Pictures of a batch, at most.
        view: Of a picture of a size.
        sizes: (N, 2), as `sizes_of` gives them.
        targets: Behind `Annotations.target`.

    Returns:
        Batches (images (B, H, W, C), targets).
    """
    check_split(split, batch_size)
    views = [view((int(height), int(width))) for height, width in sizes]
    runs = _runs([one.size for one in views], batch_size)
    alike = len({one.size for one in views}) == 1
    size = views[0].size if alike else (None, None)
    shape, dtype = (*size, channels_of(split)), _dtype(split)
    form, kind = split.labels.spec(views[0].size)
    if not alike:
        other = split.labels.spec((views[0].size[0] + 1, views[0].size[1] + 1))[0]
        form = tuple(a if a == b else None for a, b in zip(form, other, strict=True))

    def read(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _stacked(split, indices, lambda index, place, source: views[index])

    called = in_python(read)

    @as_written
    def batch(run: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        indices = tf.range(run[0], run[1])
        images, labels = tf.numpy_function(called, [indices], (dtype, kind), stateful=False)
        images = tf.ensure_shape(images, (None, *shape))
        return images, targets(tf.ensure_shape(labels, (None, *form)))

    steps = tf.data.Dataset.from_tensor_slices(np.array(runs, np.int64))
    steps = steps.map(batch, num_parallel_calls=PARALLEL_BATCHES, deterministic=True)
    return steps.prefetch(PARALLEL_BATCHES).with_options(plain_options())


def _runs(sizes: Sequence[Size], batch_size: int) -> list[tuple[int, int]]:
    """(first, end) of the batches: neighbours of one size, at most `batch_size`."""
    runs: list[tuple[int, int]] = []
    first = 0
    for index in range(1, len(sizes) + 1):
        ends = index == len(sizes) or sizes[index] != sizes[first]
        if ends or index - first == batch_size:
            runs.append((first, index))
            first = index
    return runs


def _reading(
    steps: tf.data.Dataset,
    split: Split,
    view: Callable[[Size, np.ndarray, int], View],
    shape: tuple[int, int, int],
    dtype: str,
) -> tf.data.Dataset:
    """`steps` with images and labels in place of indices."""
    form, kind = split.labels.spec(shape[:2])

    def read(indices: np.ndarray, seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _stacked(split, indices, lambda index, place, source: view(source, seed, place))

    called = in_python(read)

    @as_written
    def fetch(element: dict) -> dict:
        given = [element["indices"], element["seed"]]
        images, labels = tf.numpy_function(called, given, (dtype, kind), stateful=False)
        return {
            "images": tf.ensure_shape(images, (None, *shape)),
            "labels": tf.ensure_shape(labels, (None, *form)),
            "seed": element["seed"],
        }

    steps = steps.map(fetch, num_parallel_calls=PARALLEL_BATCHES, deterministic=True)
    return steps.prefetch(PARALLEL_BATCHES).with_options(plain_options())


def _stacked(
    split: Split, indices: np.ndarray, view: Callable[[int, int, Size], View]
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (B, H, W, C) and their targets, each in its view."""

    def one(place: int) -> tuple[np.ndarray, np.ndarray]:
        index = int(indices[place])
        image = read_picture(split, index)
        height, width = image.shape[:2]
        seen = view(index, place, (height, width))
        return viewed(image, seen), split.labels.target(index, seen)

    found = list(pool().map(one, range(len(indices))))
    return np.stack([image for image, _ in found]), np.stack([target for _, target in found])


def _dtype(split: Split) -> str:
    return "uint8" if isinstance(split.images, ImageFiles) else str(split.array.dtype)
