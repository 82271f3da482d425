"""Batched `tf.data` of the user's own, surveyed and brought to kcnn's form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.data import Feed
from kcnn.errors import InputError
from kcnn.recipes.recipe import Recipe
from kcnn.startup import tf
from kcnn.tasks.problem import PARTS, Problem


@dataclass
class _Survey:
    """What one pass over a stream finds."""

    steps: int = 0
    images: int = 0
    largest_label: int = 0
    pixels: int = 0
    total: Any = 0.0
    squares: Any = 0.0


def from_streams(
    streams: Mapping[str, tf.data.Dataset], recipe: Recipe, outputs: int | None
) -> Problem:
    """The problem that batched datasets of the user's own pose; each is read once to survey it.

    Raises:
        InputError: No validation stream; options that only arrays can honour; streams that are
            endless, empty, not batched, or hold values that are not finite.
    """
    _refuse_options(recipe)
    if "validation" not in streams:
        raise InputError("Epochs are chosen on validation data: give a 'validation' dataset, too.")
    for part, stream in streams.items():
        _check_stream(part, stream)
    surveys = {part: _survey(part, stream) for part, stream in streams.items()}
    images, labels = streams["train"].element_spec
    found = 1 + max(survey.largest_label for survey in surveys.values())
    classes = labels.shape[-1] if _is_one_hot(labels) else max(outputs or 0, found, 2)

    def encode(part: str, width: int) -> tf.data.Dataset:
        encoder = _encoder(labels, classes, width)
        return streams[part].map(lambda x, y: (x, encoder(y)))

    def training(recipe: Recipe, size: tuple[int, int], width: int, start: int) -> Feed:
        del recipe, size
        # An epoch's batches are the stream's own affair: of the last one only the rest is skipped.
        batches = encode("train", width).repeat().skip(start % surveys["train"].steps)
        return Feed(batches, (), _as_it_is, ("stream",), "CPU:0")

    train = surveys["train"]
    return Problem(
        name="tf.data",
        image_shape=tuple(images.shape[1:]),
        class_names=tuple(str(label) for label in range(classes)),
        sizes={part: surveys[part].images if part in surveys else 0 for part in PARTS},
        provenance="a tf.data.Dataset of the user's own",
        fingerprint="none: a stream",
        batch_size=-(-train.images // train.steps),
        statistics=lambda size: _moments(train),
        steps=lambda recipe: surveys["train"].steps,
        training=training,
        evaluation=lambda part, batch_size, size, width: encode(part, width),
    )


def _as_it_is(element: Any, resident: tuple) -> Any:
    return element


def _check_stream(part: str, stream: tf.data.Dataset) -> None:
    spec = stream.element_spec
    pair = isinstance(spec, tuple) and len(spec) == 2
    if not pair or spec[0].shape.rank != 4 or spec[0].shape[-1] is None:
        raise InputError(
            f"The {part!r} dataset must give batches (images (B, H, W, C), labels); received "
            f"{spec}. Batch it with .batch(n)."
        )
    if stream.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError(
            f"The {part!r} dataset never ends; an epoch has to. End it with .take(steps)."
        )


def _is_one_hot(labels: tf.TensorSpec) -> bool:
    return labels.shape.rank == 2 and labels.shape[-1] not in (1, None)


def _survey(part: str, stream: tf.data.Dataset) -> _Survey:
    seen = _Survey()
    for images, labels in stream.as_numpy_iterator():
        values = images.astype("float64")
        if not np.isfinite(values).all():
            raise InputError(f"The {part!r} dataset has NaN or infinite pixels.")
        seen.steps += 1
        seen.images += len(images)
        seen.largest_label = max(seen.largest_label, int(labels.max()))
        seen.pixels += values[..., 0].size
        seen.total += values.sum((0, 1, 2))
        seen.squares += np.square(values).sum((0, 1, 2))
    if not seen.images:
        raise InputError(f"The {part!r} dataset is empty.")
    return seen


def _moments(seen: _Survey) -> tuple[np.ndarray, np.ndarray]:
    mean = seen.total / seen.pixels
    variance = seen.squares / seen.pixels - mean**2
    return mean.astype("float32"), np.where(variance > 1e-12, variance, 1.0).astype("float32")


def _encoder(labels: tf.TensorSpec, classes: int, width: int) -> Callable[[Any], Any]:
    def encode(y: Any) -> Any:
        if _is_one_hot(labels):
            y = tf.cast(y, tf.float32)
            return y[:, 1:] if width == 1 else y
        y = tf.reshape(y, [-1])
        return tf.cast(y, tf.float32)[:, None] if width == 1 else tf.one_hot(y, classes)

    return encode


def _refuse_options(recipe: Recipe) -> None:
    for option, off in (("batch_size", None), ("mixup", 0.0), ("cutmix", 0.0)):
        if getattr(recipe, option) != off:
            raise InputError(
                f"{option} is not applied to a tf.data.Dataset, which is batched already "
                f"(received {option}={getattr(recipe, option)}). Do it in the dataset."
            )
    if recipe.augment not in ("auto", "none"):
        raise InputError(
            f"augment={recipe.augment!r} is not applied to a tf.data.Dataset. Do it in the dataset."
        )
