"""What a training reads: splits of arrays or files, or the user's own `tf.data`, as one.

Every stream gives images (B, H, W, C) and labels (B, K) float32: one-hot, or K = 1 for two
classes (the probability of the second).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.data import (
    Data,
    evaluation_batches,
    from_arrays,
    statistics,
    steps_per_epoch,
    training_batches,
)
from kcnn.errors import InputError
from kcnn.startup import tf
from kcnn.training.recipe import Recipe

_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Problem:
    """A classification problem, ready to be read."""

    name: str
    image_shape: tuple[int | None, int | None, int]  #: (H, W, C); None: photographs
    class_names: tuple[str, ...]
    sizes: Mapping[str, int]  #: images in train, validation, test
    provenance: str
    fingerprint: str
    batch_size: int | None  #: of a stream that is batched already
    #: (H, W) the network sees -> mean (C,), variance (C,) of the training split
    statistics: Callable[[tuple[int, int]], tuple[np.ndarray, np.ndarray]]
    #: (recipe, (H, W), outputs) -> training batches without end, steps per epoch
    training: Callable[[Recipe, tuple[int, int], int], tuple[tf.data.Dataset, int]]
    #: (split, batch size, (H, W), outputs) -> batches in stored order
    evaluation: Callable[[str, int, tuple[int, int], int], tf.data.Dataset]

    source: str | None = None  #: what `load_data` takes to give it again

    def description(self) -> dict[str, Any]:
        """What a run directory keeps of it."""
        return {
            "name": self.name,
            "source": self.source,
            "provenance": self.provenance,
            "fingerprint": self.fingerprint,
            "images": dict(self.sizes),
            "image_shape": self.image_shape,
            "class_names": self.class_names,
        }

    @property
    def classes(self) -> int:
        """Number of classes, from 2 up."""
        return len(self.class_names)

    @property
    def outputs(self) -> int:
        """Outputs of a network for it: two classes need one."""
        return 1 if self.classes == 2 else self.classes


def as_problem(data: Any, recipe: Recipe, *, outputs: int | None = None) -> Problem:
    """The problem that the user's `data` poses.

    Args:
        data: `Data`; (images, labels); a mapping of "train", "validation", "test" to such
            pairs or to batched `tf.data.Dataset`s.
        recipe: For the share and the seed of splits that are to be made.
        outputs: Outputs of the user's own model, which say how many classes a stream of whole
            numbers has.

    Raises:
        InputError: Anything else, and whatever `kcnn.from_arrays` refuses.
    """
    if isinstance(data, Data):
        return _from_data(data)
    if isinstance(data, tuple) and len(data) == 2:
        data = {"train": data}
    if isinstance(data, Mapping) and "train" in data and set(data) <= set(_PARTS):
        if all(isinstance(part, tf.data.Dataset) for part in data.values()):
            _refuse_for_streams(recipe)
            return _from_streams(data, outputs)
        parts = dict(data)
        options = {"seed": recipe.seed, "validation_size": recipe.validation_size}
        return _from_data(from_arrays(parts.pop("train"), **parts, **options))
    raise InputError(
        f"data is a kcnn.Data, a pair (images, labels), or a mapping of 'train', 'validation' and "
        f"'test' to such pairs or to tf.data.Datasets; received {type(data).__name__}"
        f"{f' with keys {sorted(data)}' if isinstance(data, Mapping) else ''}. A tf.data.Dataset "
        f"cannot be split: pass {{'train': ..., 'validation': ...}}."
    )


def _from_data(data: Data) -> Problem:
    if not len(data.validation):
        raise InputError(
            "The validation split is empty; epochs are chosen on it. Give a share such as "
            "validation=0.1."
        )

    def image_size(size: tuple[int, int]) -> tuple[int, int] | None:
        return None if data.image_shape[0] else size

    def label_options(outputs: int) -> dict[str, Any]:
        return {"classes": data.classes, "binary": outputs == 1}

    def training(
        recipe: Recipe, size: tuple[int, int], outputs: int
    ) -> tuple[tf.data.Dataset, int]:
        batches = training_batches(
            data.train,
            recipe.batch_size,
            seed=recipe.seed,
            augment=recipe.augment,
            mixup=recipe.mixup,
            cutmix=recipe.cutmix,
            image_size=image_size(size),
            **label_options(outputs),
        )
        return batches, steps_per_epoch(len(data.train), recipe.batch_size)

    def evaluation(
        part: str, batch_size: int, size: tuple[int, int], outputs: int
    ) -> tf.data.Dataset:
        return evaluation_batches(
            getattr(data, part), batch_size, image_size=image_size(size), **label_options(outputs)
        )

    return Problem(
        name=data.name,
        image_shape=data.image_shape,
        class_names=data.class_names,
        sizes={part: len(getattr(data, part)) for part in _PARTS},
        provenance=data.provenance,
        fingerprint=data.fingerprint,
        batch_size=None,
        statistics=lambda size: statistics(data.train, image_size=image_size(size)),
        training=training,
        evaluation=evaluation,
    )


@dataclass
class _Survey:
    """What one pass over a stream finds."""

    steps: int = 0
    images: int = 0
    largest_label: int = 0
    pixels: int = 0
    total: Any = 0.0
    squares: Any = 0.0


def _from_streams(streams: Mapping[str, tf.data.Dataset], outputs: int | None) -> Problem:
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

    def training(recipe: Recipe, size: tuple[int, int], width: int) -> tuple[tf.data.Dataset, int]:
        del recipe, size
        return encode("train", width).repeat(), surveys["train"].steps

    train = surveys["train"]
    return Problem(
        name="tf.data",
        image_shape=tuple(images.shape[1:]),
        class_names=tuple(str(label) for label in range(classes)),
        sizes={part: surveys[part].images if part in surveys else 0 for part in _PARTS},
        provenance="a tf.data.Dataset of the user's own",
        fingerprint="none: a stream",
        batch_size=-(-train.images // train.steps),
        statistics=lambda size: _moments(train),
        training=training,
        evaluation=lambda part, batch_size, size, width: encode(part, width),
    )


def _refuse_for_streams(recipe: Recipe) -> None:
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
