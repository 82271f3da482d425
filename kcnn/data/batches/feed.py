"""What a training step reads: the steps as `tf.data`, and a graph function that makes batches.

A training loop that runs many steps inside one `tf.function` takes elements of `Feed.steps` and
makes each batch in its own graph. Arrays stay on the device, and a step brings only the indices
of its images. Nothing of the data, its order or its seed is a constant of that graph: a trace
serves every feed of equal `key`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.data.batches.batch import Batch, BatchSpec, Element, batch_function
from kcnn.data.batches.checks import changes_of, check_split, check_training
from kcnn.data.batches.fetch import Source, source
from kcnn.data.batches.order import as_written, plain_options, training_steps
from kcnn.data.batches.targets import Targets, targets_of
from kcnn.data.sets.splits import Split
from kcnn.recipes.augmentations import Augmentations, refuse_other_than_bytes
from kcnn.recipes.defaults import MARGIN
from kcnn.startup import tf

RESIDENT_LIMIT = 2 * 2**30  # bytes; what a GPU holds beside the network, on any of 8 GB
PARALLEL_BATCHES = 2  # that are read or made at a time


@dataclass(frozen=True, eq=False)
class Feed:
    """The steps of a training, and how a batch is made of each.

    `batch(element, feed.resident)` for each element of `steps` gives what `training_batches`
    gives, inside a `tf.function` or outside.
    """

    #: One element per training step, a dict with "seed", (2,) int64, and, of arrays,
    #: "indices", (B,) int64; of files "images", (B, H, W, 3) uint8, and "labels", (B,) int64,
    #: and "weights", (B,) float32, where images have weights.
    steps: tf.data.Dataset
    #: The training set on `device`, opaque: pass it to `batch`. () for files.
    resident: tuple[tf.Tensor, ...]
    #: (element, resident) -> (images, targets), and weights (B,) behind them where images have
    #: such: a pure function that captures no tensor.
    batch: Batch
    #: Equal keys mean that `batch` is the same function, on tensors of the same shapes.
    key: tuple
    #: Where `batch` runs: "GPU:0" for arrays of up to 2 GiB where there is a GPU, else "CPU:0".
    device: str


def training_feed(
    split: Split,
    batch_size: int,
    *,
    classes: int | None = None,
    targets: Targets | None = None,
    seed: int,
    augment: Any = "none",
    mixup: float = 0.0,
    cutmix: float = 0.0,
    colour: float = 0.0,
    binary: bool = False,
    image_size: tuple[int, int] | None = None,
    start: int = 0,
    stop: int | None = None,
    balanced: bool = False,
    cache: str | os.PathLike | None = None,
    device: str | None = None,
) -> Feed:
    """The feed of the steps `start` to `stop`, counted over all epochs.

    Args:
        split: the training split.
        batch_size: at most the number of images.
        classes: K, above every label: targets are class labels (see `ClassTargets`).
        targets: what makes targets of labels instead, as a task says.
        seed: of order and augmentation, any integer.
        augment: as in a recipe, but for `auto` and colour: `none`, or of `flip`, `crop` (arrays:
            pad by 4 and crop; files: fit to 1.15 times `image_size` and crop), `rotation=15`,
            `zoom=0.1`, `erasing=0.5` and, of bytes, `randaugment=2:9` those that are wanted, as
            a text, a list, or a mapping (`kcnn.recipes.augmentations`).
        mixup: alpha of Zhang et al. 2018; 0 is off.
        cutmix: alpha of Yun et al. 2019; 0 is off. With both on, each batch takes one of the two.
        colour: share of random brightness, contrast and saturation, in [0, 1); 0 is off.
        binary: labels of shape (B, 1) for a single sigmoid; needs K = 2.
        image_size: (H, W) to which image files are fit; arrays keep their size.
        start: the first step, at least 0; epoch = step // steps_per_epoch.
        stop: the step after the last; None is endless.
        balanced: all classes are seen equally often in an epoch, which has as many steps as
            without (`kcnn.data.batches.order.balanced_order`).
        cache: of files, where they are kept once they are decoded and fit: "memory", as the
            arrays that they then are, or a folder, one `.npy` for each split and size. All are
            decoded now, unless the cache has them (`fill_cache` shows progress).
        device: where batches are made, "CPU:0" or "GPU:0". By default the GPU, where there is
            one and the images are files or take 2 GiB at most.

    Raises:
        InputError: an argument out of its range, a batch larger than the data, or a cache for
            which there is no room.
    """
    targets = targets_of(split, classes, binary, targets)
    check_split(split, batch_size)
    check_training(split, batch_size, mixup, cutmix, start, stop)
    changes = changes_of(augment)
    images = source(split.images, image_size, margin(changes), cache)
    refuse_other_than_bytes(changes, images.dtype, "the split")
    device = device or _device(images)
    labels = split.labels if balanced else None
    steps = training_steps(len(split), batch_size, int(seed), start, stop, labels)
    resident: tuple[tf.Tensor, ...] = ()
    if images.array is None:
        steps = _reading(steps, images, split)
    else:
        resident = _resident(images, split, device)
    spec = BatchSpec(
        device=device,
        resident=bool(resident),
        shape=images.shape,
        dtype=images.dtype,
        size=(image_size[0], image_size[1]) if split.is_files and image_size else None,
        changes=changes,
        mixup=float(mixup),
        cutmix=float(cutmix),
        targets=targets,
        colour=float(colour),
        weighted=split.weights is not None,
    )
    key = (spec, *(tuple(tensor.shape) for tensor in resident))
    return Feed(steps, resident, batch_function(spec), key, device)


def fill_cache(
    split: Split,
    image_size: tuple[int, int],
    cache: str | os.PathLike,
    *,
    augment: Any = "none",
    scale: float = 1.0,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Decode the files of a split into the cache, or find them there.

    Args: as `training_feed`, whose `augment` says whether there is a margin to crop in, or as
        `evaluation_batches`, which has a `scale`; `progress` is called with the number of files
        decoded so far.
    """
    needed = max(scale, margin(changes_of(augment)))
    source(split.images, image_size, needed, cache, progress)


def margin(changes: Augmentations) -> float:
    """How much larger than the input image files are fit."""
    return MARGIN if changes.crop else 1.0


def _device(images: Source) -> str:
    fits = images.array is None or images.array.nbytes <= RESIDENT_LIMIT
    return "GPU:0" if fits and tf.config.list_logical_devices("GPU") else "CPU:0"


def _resident(images: Source, split: Split, device: str) -> tuple[tf.Tensor, ...]:
    """Images (N, H, W, C), or on a GPU in words (N, words) int64; labels, (N,) int64; weights.

    TensorFlow has no kernel that gathers bytes on a GPU, and keeps int32 in the host's memory.
    """
    assert images.array is not None
    with tf.device(device):
        is_gpu = "GPU" in device
        pixels = tf.convert_to_tensor(_words(images.array)) if is_gpu else images.tensor()
        known = [split.labels] if split.weights is None else [split.labels, split.weights]
        return pixels, *map(tf.convert_to_tensor, known)


def _words(images: np.ndarray) -> np.ndarray:
    """The bytes of each image, zeros behind them, as (N, words) int64."""
    values = np.ascontiguousarray(images).reshape(len(images), -1).view(np.uint8)
    if spare := -values.shape[1] % 8:
        values = np.pad(values, [(0, 0), (0, spare)])
    return values.view(np.int64)


def _reading(steps: tf.data.Dataset, images: Source, split: Split) -> tf.data.Dataset:
    """`steps` with images, labels and weights in place of indices."""
    known = {"labels": split.labels, "weights": split.weights}
    with tf.device("CPU:0"):
        held = {n: tf.convert_to_tensor(a) for n, a in known.items() if a is not None}

    @as_written
    def fetch(element: Element) -> Element:
        indices = element["indices"]
        return {
            "images": images.fetch(indices),
            **{name: tf.gather(values, indices) for name, values in held.items()},
            "seed": element["seed"],
        }

    steps = steps.map(fetch, num_parallel_calls=PARALLEL_BATCHES, deterministic=True)
    return steps.prefetch(PARALLEL_BATCHES).with_options(plain_options())
